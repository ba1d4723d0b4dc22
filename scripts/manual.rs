//! Writes the manual page and the completions for shells into the folder that is named: `cargo run --example manual FOLDER`.

use std::fs::{File, create_dir_all};
use std::path::PathBuf;

use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    create_dir_all(&folder)?;
    let mut command = wsgi_gateway::cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "wsgi-gateway", &folder)?;
    }
    let man = |command: clap::Command, name: &str| {
        let mut page = File::create(folder.join(format!("{name}.1")))?;
        Man::new(command.name(name.to_owned())).render(&mut page)
    };
    for door in command.get_subcommands() {
        man(door.clone(), &format!("wsgi-gateway-{}", door.get_name()))?;
    }
    man(command, "wsgi-gateway")
}
