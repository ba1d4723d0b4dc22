//! Processes, the sockets they listen on and the signals they obey; knows neither FastCGI nor Python.
//!
//! One master, which runs no application and has one thread; workers, which serve; and with `--preload` a template, which
//! has imported the application and of which the workers are copies; and where no worker can be made, a fallback that
//! answers in their place. What each of them does is the [`Service`]'s.

mod account;
mod address;
mod attended;
mod beside;
mod bind_error;
mod bindable;
mod channel;
mod child;
mod counters;
mod desk;
mod directory;
mod exec;
mod folder;
mod forks;
mod holder;
mod identity;
mod joined;
mod lines;
mod listener;
mod listening;
mod log_output;
mod master;
mod memory;
mod messages;
mod output;
mod pid_file;
mod pool;
mod port;
mod scoreboard;
mod service;
mod signals;
mod slot_view;
mod snapshot;
mod tcp;
mod threads;
mod title;
mod totals;

pub use account::{Account, AccountFile};
pub use address::{Address, AddressError};
pub use attended::{Attended, LocalUser, code, first_user};
pub use beside::log_output_beside;
pub use bind_error::BindError;
pub use bindable::look_at;
pub use channel::{Channel, Received};
pub use desk::{Command, CommandOutcome, Desk, DeskNotice};
pub use directory::{NoDirectory, PrivateDirectory};
pub use exec::{
    become_program, ended_itself, in_child, leave_open, may_execute, never_began, pipe, seal,
    start_detached, take_inherited, unseal,
};
pub use forks::{close_in_children, keep_in_children, watch_forks, write_in_child};
pub use holder::AddressHolder;
pub use identity::{Identity, IdentityError, own_user, user_name};
pub use lines::{LineFileError, LineFiles, LineKind, LineSink, LineWriter, LineWriterError};
pub use listener::{
    Bound, SocketFile, SocketOwner, bind, inherited, is_listening, is_tcp, raise_descriptor_limit,
};
pub use listening::Listening;
pub use log_output::{LogFileError, LogOutput};
pub use master::{Ending, Master, Plan};
pub use messages::{ChildMessage, MasterMessage};
pub use output::{FROM, LineForm, OUTPUT, PID, SAID};
pub use pid_file::{PidFile, PidFileError};
pub use scoreboard::{Running, ThreadSlot, WorkerSlot, monotonic_now};
pub use service::{
    ForkError, ForkRequest, ForkRequests, Forked, ObserverArgs, Service, WorkerArgs,
};
pub use signals::{
    Catch, Signal, Signals, clear_inherited, die_of_faults, end_at_once, end_of_interrupts, insist,
    insist_on, let_pass,
};
pub use slot_view::SlotView;
pub use snapshot::{
    AddressSeen, GatewayStage, ReloadSeen, Reloads, Snapshot, WorkerSeen, WorkerStage, uptime,
};
pub use threads::{
    CpuLimit, ResidentMemory, SignalMeaning, StackPipe, StackSignals, other_threads, peak_memory,
    thread_cpu_time, wait_readable,
};
pub use title::set_title;
pub use totals::{FailureTotals, Histogram, RefusalTotals, Totals};
