//! What the program says in place of serving: its help, or what is wrong with what it was told.

use std::io::{self, Write};
use std::process::ExitCode;

/// What was asked for, or what is wrong.
#[derive(Debug)]
pub struct CommandLineAnswer(AnswerKind);

#[derive(Debug)]
enum AnswerKind {
    /// In clap's own words and colours.
    Help(clap::Error),
    /// As it is.
    Text(Vec<u8>),
    /// What is said where nothing was asked.
    Bare(&'static str),
    /// One line.
    Wrong(String),
}

impl CommandLineAnswer {
    pub(super) fn help(help: clap::Error) -> Self {
        Self(AnswerKind::Help(help))
    }

    pub(super) fn text(text: Vec<u8>) -> Self {
        Self(AnswerKind::Text(text))
    }

    pub(super) fn bare(text: &'static str) -> Self {
        Self(AnswerKind::Bare(text))
    }

    pub(super) fn wrong(line: impl Into<String>) -> Self {
        Self(AnswerKind::Wrong(line.into()))
    }

    /// Says it; gives the exit code for it.
    pub fn tell(self) -> ExitCode {
        // Who does not read it does not want it.
        match self.0 {
            AnswerKind::Help(help) => {
                let _ = help.print();
                ExitCode::SUCCESS
            }
            AnswerKind::Text(text) => {
                let _ = io::stdout().write_all(&text);
                ExitCode::SUCCESS
            }
            AnswerKind::Bare(text) => {
                let _ = io::stderr().write_all(text.as_bytes());
                USAGE.into()
            }
            AnswerKind::Wrong(line) => {
                let _ = writeln!(io::stderr(), "wsgi-gateway: error: {line}");
                USAGE.into()
            }
        }
    }
}

/// The exit code of what the operator has written.
const USAGE: u8 = 2;
