//! Replays the committed corpora of the fuzz targets of what comes from the other end of a
//! connection, so that what they once found stays found; and sees that no line makes either end
//! take much memory.

use slotd::protocol::{Command, MAX_COMMAND, MAX_LINE};

#[path = "../../fuzz/fuzz_targets/drive/certificate.rs"]
mod certificate;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/fuzz_targets/drive/wire.rs"]
mod wire;

use replay::{Target, largest};

const WIRE: Target = Target {
    name: "wire",
    drive: wire::wire,
    apart: 16 << 10,
    most: 400,
};

#[test]
fn no_line_makes_either_end_panic_or_take_memory_that_it_only_announces() {
    WIRE.replay();
}

#[test]
fn what_a_certificate_says_is_a_line_and_has_one_role() {
    let target = Target {
        name: "certificate",
        drive: certificate::certificate,
        apart: 16 << 10,
        most: 800,
    };
    target.replay();
}

#[test]
fn numbers_that_announce_much_make_nobody_take_it() {
    for line in [
        "\x01OK count=4294967295 next=0 list=\n",
        "\x01OK size=18446744073709551615 offset=18446744073709551615 data=\n",
        "\x01OK parts=4294967295 digests=\n",
        "\x01OK slotd=1 protocol=1 host_id=a state=serving capacity=4294967295 \
         connections=4294967295\n",
        "\x00GUIDS from=0 to=4294967295 max=4294967295\n",
        "\x00DIGESTS from=0 to=4294967295 parts=4294967295\n",
        "\x00LIST max=4294967295\n",
        "\x00LOCK user.a wait_ms=18446744073709551615\n",
    ] {
        WIRE.one(line.as_bytes());
    }
}

#[test]
fn the_longest_lines_take_a_few_times_their_length() {
    for (which, length) in [(0, MAX_COMMAND), (1, MAX_LINE)] {
        for pattern in [
            "a",
            "a=1 ",
            "%41",
            "=",
            " ",
            ",",
            "OK a=b,",
            "LOCK user.a ",
            "\u{e9}",
        ] {
            let mut input = vec![which];
            if which == 1 {
                input.extend(b"OK list=");
            }
            input.extend(pattern.bytes().cycle().take(length - 16));
            input.push(b'\n');
            WIRE.one(&input);
        }
    }
    // One that is longer is not looked at.
    let long = vec![b'A'; MAX_COMMAND + 1];
    let taken = largest(|| assert!(Command::parse(&long).is_err()));
    assert!(taken < 1024, "{taken}");
}
