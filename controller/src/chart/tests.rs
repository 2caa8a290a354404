//! Pictures of numbers that are known.

use super::{Bar, Bars, Columns, Hue, Line, Lines, Mark, STYLE, Series, Side};

fn series<'a>(name: &'a str, hue: Hue, values: &[f64]) -> Series<'a> {
    Series {
        name,
        hue,
        values: values.to_vec(),
    }
}

fn columns<'a>(edges: &'a [f64], series: &'a [Series<'a>], side: Side) -> Columns<'a> {
    Columns {
        title: "a title",
        across: "seconds",
        up: "mailboxes",
        edges,
        log: false,
        series,
        side,
        marks: &[],
    }
}

/// A number of an attribute of each rectangle of that class.
fn numbers(svg: &str, class: &str, attribute: &str) -> Vec<f64> {
    let rects = svg.split("<rect ").skip(1);
    let rects = rects.map(|rect| rect.split('>').next().unwrap());
    let rects = rects.filter(|rect| rect.contains(&format!("class=\"{class}\"")));
    let value = |rect: &str| {
        let after = format!(" {rect}");
        let after = after
            .split(&format!(" {attribute}=\""))
            .nth(1)
            .unwrap()
            .to_owned();
        after.split('"').next().unwrap().parse().unwrap()
    };
    rects.map(value).collect()
}

#[test]
fn columns_are_as_high_as_their_values_and_stand_where_they_belong() {
    let values = [series("done", Hue::First, &[1.0, 4.0, 0.0, 2.0])];
    let svg = columns(&[0.0, 1.0, 2.0, 3.0, 4.0], &values, Side::Upon).svg(700);
    let heights = numbers(&svg, "first", "height");
    assert_eq!(heights.len(), 3, "none of nothing: {svg}");
    assert!((heights[1] / heights[0] - 4.0).abs() < 0.05, "{heights:?}");
    assert!((heights[2] / heights[0] - 2.0).abs() < 0.05, "{heights:?}");
    let places = numbers(&svg, "first", "x");
    let wide = places[1] - places[0];
    assert!(
        (places[2] - places[1] - 2.0 * wide).abs() < 0.3,
        "{places:?}"
    );
    assert!(
        svg.contains("<title>done: 4 (1 to 2, seconds)</title>"),
        "{svg}"
    );
}

#[test]
fn series_lie_upon_each_other_or_next_to_each_other() {
    let both = [
        series("done", Hue::First, &[3.0]),
        series("failed", Hue::Bad, &[1.0]),
    ];
    let upon = columns(&[0.0, 1.0], &both, Side::Upon).svg(700);
    let low = numbers(&upon, "first", "y")[1]; // the first is the legend's
    let (high, height) = (
        numbers(&upon, "bad", "y")[1],
        numbers(&upon, "bad", "height")[1],
    );
    assert!((high + height - low).abs() < 0.3, "{upon}");
    let next = columns(&[0.0, 1.0], &both, Side::NextTo).svg(700);
    let (left, wide) = (
        numbers(&next, "first", "x")[1],
        numbers(&next, "first", "width")[1],
    );
    assert!(
        (left + wide - numbers(&next, "bad", "x")[1]).abs() < 0.3,
        "{next}"
    );
}

#[test]
fn on_a_logarithmic_axis_equal_factors_are_equally_wide() {
    let values = [series("locks", Hue::First, &[1.0, 1.0, 1.0])];
    let mut chart = columns(&[0.5, 1.0, 2.0, 4.0], &values, Side::NextTo);
    chart.log = true;
    chart.marks = &[
        Mark {
            name: "median",
            at: 1.0,
        },
        Mark {
            name: "p99",
            at: 4.0,
        },
        Mark {
            name: "p99.9",
            at: 4.0,
        },
    ];
    let svg = chart.svg(700);
    let places = numbers(&svg, "first", "x");
    let wide = [places[1] - places[0], places[2] - places[1]];
    assert!((wide[0] - wide[1]).abs() < 0.3, "{places:?}");
    assert_eq!(svg.matches("<line class=\"mark\"").count(), 3);
    // A name that would lie upon another is left out.
    assert!(svg.contains(">p99<") && !svg.contains(">p99.9<"), "{svg}");
}

/// A line through points of which nothing is said.
fn line<'a>(name: &'a str, hue: Hue, points: &[(f64, f64)]) -> Line<'a> {
    let points = points
        .iter()
        .map(|(at, high)| (*at, *high, "said".to_owned()));
    Line {
        name,
        hue,
        points: points.collect(),
    }
}

/// Where the dots of a chart of lines are.
fn dots(svg: &str) -> Vec<[f64; 2]> {
    let circles = svg.split("<circle ").skip(1);
    let value = |circle: &str, name: &str| -> f64 {
        let after = circle.split(&format!("{name}=\"")).nth(1).unwrap();
        after.split('"').next().unwrap().parse().unwrap()
    };
    circles
        .map(|circle| [value(circle, "cx"), value(circle, "cy")])
        .collect()
}

#[test]
fn points_of_lines_are_where_their_numbers_are() {
    let lines = [
        line(
            "ours",
            Hue::First,
            &[(1.0, 100.0), (4.0, 200.0), (16.0, 400.0)],
        ),
        line("bare", Hue::Second, &[(4.0, 400.0), (16.0, 400.0)]),
    ];
    let mut chart = Lines {
        title: "rates",
        across: "at once",
        up: "mailboxes/s",
        log: (true, false),
        lines: &lines,
    };
    let svg = chart.svg(700);
    let found = dots(&svg);
    // From 1 to 4 is as far as from 4 to 16; 200 is half as high again over 100 as 400 over 200.
    let apart = |a: usize, b: usize, axis: usize| found[b][axis] - found[a][axis];
    assert!((apart(0, 1, 0) - apart(1, 2, 0)).abs() < 0.3, "{found:?}");
    assert!(
        (apart(1, 2, 1) - 2.0 * apart(0, 1, 1)).abs() < 0.3,
        "{found:?}"
    );
    assert!(
        apart(2, 4, 0).abs() < 0.3 && apart(2, 4, 1).abs() < 0.3,
        "{found:?}"
    );
    assert_eq!(
        svg.matches("<polyline class=\"line first\"").count(),
        1,
        "{svg}"
    );
    assert!(svg.contains("<title>ours: said</title>"), "{svg}");
    chart.log.1 = true;
    let found = dots(&chart.svg(700));
    let apart = |a: usize, b: usize| found[b][1] - found[a][1];
    assert!((apart(0, 1) - apart(1, 2)).abs() < 0.3, "{found:?}");
}

#[test]
fn bars_are_as_long_as_their_values_and_a_long_name_is_cut_in_its_middle() {
    let long = format!("user.{}.tail", "x".repeat(300));
    let bars = [("short", 10.0), (&long, 5.0), ("none", 0.0)].map(|(name, value)| Bar {
        name,
        says: format!("{value} ms"),
    });
    let values = [series("ms", Hue::First, &[10.0, 5.0, 0.0])];
    let svg = Bars {
        title: "locks",
        bars: &bars,
        series: &values,
    };
    let svg = svg.svg(360);
    let wide = numbers(&svg, "first", "width");
    assert_eq!(wide.len(), 2, "{svg}");
    assert!((wide[0] / wide[1] - 2.0).abs() < 0.05, "{wide:?}");
    assert!(
        svg.contains(">user.xx") && svg.contains("x...x") && svg.contains("xx.tail<"),
        "{svg}"
    );
    assert!(
        svg.contains(&format!("<title>{long}</title>")),
        "all of it to the pointer"
    );
    assert!(svg.contains(">0 ms<"));
}

#[test]
fn a_name_is_text_wherever_it_stands() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}\0";
    let both = [
        series(evil, Hue::First, &[1.0]),
        series(evil, Hue::Open, &[1.0]),
    ];
    let mut chart = columns(&[0.0, 1.0], &both, Side::Upon);
    (chart.title, chart.across, chart.up) = (evil, evil, evil);
    let marks = [Mark {
        name: evil,
        at: 0.5,
    }];
    chart.marks = &marks;
    let bars = [Bar {
        name: evil,
        says: evil.to_owned(),
    }];
    let bars = Bars {
        title: evil,
        bars: &bars,
        series: &both,
    };
    let mut lines = [
        line(evil, Hue::First, &[(1.0, 1.0)]),
        line(evil, Hue::Quiet, &[]),
    ];
    evil.clone_into(&mut lines[0].points[0].2);
    let lines = Lines {
        title: evil,
        across: evil,
        up: evil,
        log: (false, true),
        lines: &lines,
    };
    for svg in [chart.svg(700), bars.svg(300), lines.svg(300)] {
        assert!(!svg.contains("<script") && !svg.contains("\"'"), "{svg}");
        assert!(svg.contains("&lt;script&gt;alert(1)"), "{svg}");
        assert!(
            !svg.contains(['\0', '\u{202e}']) && svg.contains("\\u{202e}"),
            "{svg}"
        );
    }
}

#[test]
fn whatever_the_numbers_are_there_is_a_picture() {
    let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1e-300];
    for edges in [
        &[] as &[f64],
        &[0.0],
        &[0.0, 0.0],
        &[5.0, 1.0, f64::NAN],
        &odd,
    ] {
        for log in [false, true] {
            for side in [Side::Upon, Side::NextTo] {
                let series = [series("a", Hue::First, &odd), series("b", Hue::Second, &[])];
                let mut chart = columns(edges, &series, side);
                chart.log = log;
                let marks = [Mark {
                    name: "m",
                    at: f64::NAN,
                }];
                chart.marks = &marks;
                for width in [0, 360, u16::MAX] {
                    let svg = chart.svg(width);
                    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
                    assert!(
                        !svg.contains("NaN") && !svg.contains("inf"),
                        "{edges:?}: {svg}"
                    );
                }
            }
        }
    }
    let pairs: Vec<(f64, f64)> = odd.iter().flat_map(|a| odd.map(|b| (*a, b))).collect();
    for points in [&pairs[..], &pairs[..1], &[]] {
        for log in [(false, false), (true, false), (false, true), (true, true)] {
            let lines = [line("a", Hue::First, points)];
            let chart = Lines {
                title: "t",
                across: "a",
                up: "u",
                log,
                lines: &lines,
            };
            for width in [0, 360, u16::MAX] {
                let svg = chart.svg(width);
                assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf"),
                    "{log:?}: {svg}"
                );
            }
        }
    }
    let none = Bars {
        title: "nothing",
        bars: &[],
        series: &[],
    };
    assert!(none.svg(300).ends_with("</svg>"));
}

#[test]
fn the_style_sheet_has_each_colour_in_light_and_dark() {
    let dark = STYLE
        .split("@media (prefers-color-scheme: dark)")
        .nth(1)
        .unwrap();
    for hue in [Hue::First, Hue::Second, Hue::Quiet, Hue::Bad, Hue::Open] {
        let class = hue.class();
        assert!(STYLE.contains(&format!(".chart .{class} {{ fill: var(--chart-{class}, ")));
        let line = format!(".chart .line.{class} {{ fill: none; stroke: var(--chart-{class}, ");
        assert!(STYLE.contains(&line), "{class}");
        assert!(dark.contains(&format!("--chart-{class}: ")), "{class}");
    }
}
