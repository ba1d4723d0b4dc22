//! The screen of `top`: how it stands with a gateway, every second. `frame` makes lines of what the control socket has told,
//! and this puts them on the terminal and reads keys.

mod frame;
mod samples;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};

use crate::control::Status;
use frame::{Look, Sort, Tone, frame};
use samples::Samples;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// How long between the two looks of a single frame, which tell how much there is in a second.
const MOMENT: Duration = Duration::from_millis(500);

/// What a screen has that does not say how large it is.
const USUAL: (u16, u16) = (80, 24);

/// Shows how it stands as `ask` tells it, until the user has seen enough; once where standard output is no terminal. With `true` it
/// is to tell what stands behind the path of URLs, too.
///
/// # Errors
/// What keeps it from asking, or from writing to the terminal.
pub fn run<E: From<io::Error>>(mut ask: impl FnMut(bool) -> Result<Status, E>) -> Result<(), E> {
    let mut samples = Samples::default();
    samples.add(Instant::now(), ask(false)?);
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        std::thread::sleep(MOMENT);
        samples.add(Instant::now(), ask(false)?);
        let look = Look::default();
        let lines = frame(&samples, &look, USUAL.0.into(), usize::MAX);
        let text: String = lines.into_iter().map(|line| line.text + "\n").collect();
        // Who does not read it does not want it.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    let screen = Screen::open()?;
    let mut look = Look::default();
    let mut next = Instant::now() + MOMENT;
    loop {
        screen.show(&samples, &look)?;
        if poll(next.saturating_duration_since(Instant::now()))? {
            match read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press && !look.obey(key) => {
                    return Ok(());
                }
                _ => {}
            }
            continue;
        }
        next = Instant::now() + EVERY;
        if !look.is_frozen {
            samples.add(Instant::now(), ask(look.shows_query)?);
        }
    }
}

impl Look {
    /// Does what a key says; `false` when that is to end.
    fn obey(&mut self, key: KeyEvent) -> bool {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('u') => self.shows_query = !self.shows_query,
            KeyCode::Char(' ') => self.is_frozen = !self.is_frozen,
            _ => {}
        }
        true
    }
}

/// The terminal, put back as it was with this.
struct Screen {
    has_colour: bool,
}

impl Screen {
    fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        let this = Self {
            // <https://no-color.org>
            has_colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(this)
    }

    fn show(&self, samples: &Samples, look: &Look) -> io::Result<()> {
        let (width, height) = size().unwrap_or(USUAL);
        let lines = frame(samples, look, width.into(), height.into());
        let mut out = io::stdout().lock();
        queue!(out, cursor::MoveTo(0, 0))?;
        for (row, line) in (0..height).zip(&lines) {
            queue!(out, cursor::MoveTo(0, row))?;
            match line.tone {
                Tone::Plain => {}
                Tone::Head => queue!(out, SetAttribute(Attribute::Bold))?,
                Tone::Wrong if self.has_colour => queue!(out, SetForegroundColor(Color::Red))?,
                Tone::Wrong => queue!(out, SetAttribute(Attribute::Reverse))?,
            }
            queue!(
                out,
                Print(&line.text),
                SetAttribute(Attribute::Reset),
                ResetColor,
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Number => Self::Busy,
            Self::Busy => Self::Requests,
            Self::Requests => Self::Memory,
            Self::Memory => Self::Number,
        }
    }
}
