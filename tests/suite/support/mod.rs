//! What the tests drive the gateway with and look at it by. Nothing here knows the insides of `src/`.

pub(crate) mod browser;
pub(crate) mod captures;
pub(crate) mod cgi;
pub(crate) mod client;
pub(crate) mod digest;
pub(crate) mod doors;
pub(crate) mod gateway;
pub(crate) mod home;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod load;
pub(crate) mod process_table;
pub(crate) mod release;
pub(crate) mod wait;
