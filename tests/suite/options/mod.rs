//! What an operator says and is told: options, and the subcommands that start no gateway.

mod checks;
mod explain;
mod get;
mod help;
mod messages;
mod surface;
