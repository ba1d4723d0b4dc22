//! Which Python runs an application, where it finds its modules, and what an application file is to it.

mod application_files;
mod choice;
mod interpreter;
mod versions;
