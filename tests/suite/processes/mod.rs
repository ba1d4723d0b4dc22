//! The master and its workers: their life, their end, their limits, and what they write to the log.

mod access_log;
mod closed;
mod combined;
mod crashes;
mod deadlines;
mod folders;
mod forks;
mod hostile;
mod interrupted;
mod killed;
mod logging;
mod logs;
mod meddled;
mod output;
mod pool;
mod preload;
mod recycling;
mod releases;
mod reload;
mod resilience;
mod signals;
mod systemd;
mod watching;
