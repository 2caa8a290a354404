//! A span of the day.

use std::str::FromStr;

/// A span of the day, such as 22:00-06:00; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u16,
    to: u16,
}

/// Why a text is no span of the day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no span of the day such as 22:00-06:00")]
pub struct WindowError {
    text: String,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let minute = |clock: &str| {
            let (hour, minute) = clock.split_once(':')?;
            let digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
            let (h, m): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (digits(hour) && digits(minute) && h < 24 && m < 60).then_some(h * 60 + m)
        };
        let parsed = text
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match parsed {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err(WindowError {
                text: text.to_owned(),
            }),
        }
    }
}

impl Window {
    /// Whether a minute of the day (0 to 1439) lies within.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}
