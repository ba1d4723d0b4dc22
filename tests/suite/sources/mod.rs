//! What holds for the sources as text, and what is packed of what they are built into.

mod bench;
mod floors;
mod imports;
mod names;
mod packages;
