//! What is made of the command line for others to read: completions for shells, and manual pages.

use std::fs::{File, create_dir_all};
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

const NAME: &str = "wsgi-gateway";

/// What a shell reads to complete the words of a command line.
pub(super) fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut command, NAME, &mut script);
    script
}

/// Writes a page for the program and one for each of its commands, and the completions as a package has them.
pub(super) fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    create_dir_all(folder)?;
    for (shell, name) in [
        (Shell::Bash, "wsgi-gateway.bash"),
        (Shell::Zsh, "_wsgi-gateway"),
        (Shell::Fish, "wsgi-gateway.fish"),
    ] {
        let script = completions(command.clone(), shell);
        File::create(folder.join(name))?.write_all(&script)?;
    }
    let page = |command: &Command, name: String| {
        let mut file = File::create(folder.join(format!("{name}.1")))?;
        Man::new(command.clone().name(name)).render(&mut file)
    };
    page(command, NAME.to_owned())?;
    for door in command.get_subcommands().filter(|door| !door.is_hide_set()) {
        page(door, format!("{NAME}-{}", door.get_name()))?;
    }
    Ok(())
}
