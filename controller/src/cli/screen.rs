//! The terminal that the bar is drawn on: standard error, with nothing behind the text.
//!
//! `indicatif` fills its line with blanks up to the last column. Then the `^C` that a terminal
//! shows lands on the next line, and the bar that was there is never cleared; a window made
//! narrower wraps the blanks. Here the cursor stays behind the text, which is shorter than the
//! line.

use std::io::{self, Write};
use std::os::fd::AsFd;

use indicatif::TermLike;
use parking_lot::Mutex;

/// Standard error as a terminal. What is written is shown with the next flush, at once.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pending: Mutex<Vec<u8>>,
}

/// Columns of the terminal that is standard error; 80 if nobody knows.
pub(super) fn columns() -> u16 {
    size(std::io::stderr()).0
}

/// Columns and rows of a terminal; 80 and 24 if nobody knows.
pub(super) fn size(terminal: impl AsFd) -> (u16, u16) {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// At most that many characters; what is left out shows as three dots.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept = text.chars().take(columns.saturating_sub(3));
    kept.chain("...".chars()).collect()
}

impl Screen {
    fn add(&self, text: &str) {
        let mut pending = self.pending.lock();
        pending.extend_from_slice(text.as_bytes());
    }

    /// Moves the cursor; `to` is the last letter of the control sequence.
    fn moves(&self, n: usize, to: char) {
        if n > 0 {
            self.add(&format!("\x1b[{n}{to}"));
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.pending.lock())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text);
        self.add("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // The filler. Our lines never begin with blanks alone.
        if !text.bytes().all(|b| b == b' ') {
            self.add(text);
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        stderr.write_all(&self.take())?;
        stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_shows_it() {
        assert_eq!(
            cut("4/1,500, waiting: paused", 60),
            "4/1,500, waiting: paused"
        );
        assert_eq!(cut("4/1,500, waiting: paused", 20), "4/1,500, waiting:...");
    }

    #[test]
    fn the_cursor_stays_behind_the_text() {
        let screen = Screen::default();
        screen.clear_line().unwrap();
        screen.write_str("upgrade 3/9").unwrap();
        screen.write_str(&" ".repeat(60)).unwrap();
        screen.move_cursor_up(0).unwrap();
        screen.move_cursor_up(2).unwrap();
        assert_eq!(screen.take(), b"\r\x1b[2Kupgrade 3/9\x1b[2A");
    }
}
