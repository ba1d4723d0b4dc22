//! What is made of the command line for others to read: completions for shells, manual pages, and the topic of its options.

use std::fs::{self, create_dir_all};
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use super::options_page;
use crate::help::TOPICS;

const NAME: &str = "wsgi-gateway";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a shell reads to complete the words of a command line.
pub(super) fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut command, NAME, &mut script);
    script
}

/// Writes a page for the program, one for each of its commands and one for each topic, all of this day, and the completions as a
/// package has them; and `options.md`, the topic of the options as it is to be in the sources.
pub(super) fn write_all(command: &Command, folder: &Path, day: &str) -> io::Result<()> {
    create_dir_all(folder)?;
    for (shell, name) in [
        (Shell::Bash, "wsgi-gateway.bash"),
        (Shell::Zsh, "_wsgi-gateway"),
        (Shell::Fish, "wsgi-gateway.fish"),
    ] {
        fs::write(folder.join(name), completions(command.clone(), shell))?;
    }
    fs::write(folder.join("wsgi-gateway.1"), page(command, None, day)?)?;
    for door in command.get_subcommands().filter(|door| !door.is_hide_set()) {
        let name = format!("{NAME}-{}.1", door.get_name());
        fs::write(folder.join(name), page(command, Some(door), day)?)?;
    }
    for topic in TOPICS {
        let name = format!("{}.7", topic.manual_name());
        fs::write(folder.join(name), topic.manual(VERSION, day))?;
    }
    fs::write(folder.join("options.md"), options_page::made(command))
}

/// The manual's page for the program, or for one of its commands.
fn page(program: &Command, door: Option<&Command>, day: &str) -> io::Result<String> {
    let shown = door.unwrap_or(program);
    let (title, typed) = match door {
        Some(door) => {
            let name = door.get_name();
            (format!("{NAME}-{name}"), format!("{NAME} {name}"))
        }
        None => (NAME.to_owned(), NAME.to_owned()),
    };
    let man = Man::new(shown.clone().name(title.clone()).bin_name(typed.clone()))
        .title(title.to_uppercase())
        .date(day)
        .source(format!("{NAME} {VERSION}"))
        .manual(NAME);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    // Not all options again, as clap_mangen has them.
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    let usage = shown.clone().bin_name(typed).render_usage().to_string();
    for (place, line) in usage.lines().enumerate() {
        if place > 0 {
            synopsis.control("br", []);
        }
        let line = line.trim_start_matches("Usage:").trim();
        synopsis.text([bold(NAME), roman(line.trim_start_matches(NAME))]);
    }
    page.extend(synopsis.to_roff().into_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    let mut also = TOPICS.map(|topic| (topic.manual_name(), "(7)")).to_vec();
    if door.is_some() {
        also.insert(0, (NAME.to_owned(), "(1)"));
    } else {
        rest.control("SH", ["COMMANDS"]);
        for door in program.get_subcommands().filter(|door| !door.is_hide_set()) {
            let about = door.get_about().map_or(String::new(), ToString::to_string);
            let name = format!("{NAME}-{}", door.get_name());
            rest.control("TP", []).text([bold(name), roman("(1)")]);
            rest.text([roman(about)]);
        }
    }
    rest.control("SH", ["SEE ALSO"]);
    let mut names = Vec::new();
    for (name, section) in also {
        if !names.is_empty() {
            names.push(roman(", "));
        }
        names.extend([bold(name), roman(section)]);
    }
    rest.text(names);
    page.extend(rest.to_roff().into_bytes());
    Ok(tidy(&String::from_utf8_lossy(&page)))
}

/// The page without what its sections have each for themselves, and without breaks beside empty lines.
fn tidy(page: &str) -> String {
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    let (first, rest) = page.split_once(".TH").unwrap_or(("", &page));
    format!("{first}.TH{}", rest.replace(first, ""))
}
