//! Build script of the core: names its entry after the Python that it is for and after what it has in common with the program,
//! so that one that does not fit is not found rather than called.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let python = pyo3_build_config::get();
    let version = python.version();
    let contract = env::var("DEP_WSGI_GATEWAY_CONTRACT").unwrap_or_default();
    let free_threaded = python.is_free_threaded();
    let kind = if free_threaded { "t" } else { "" };
    let entry = format!(
        "wsgi_gateway_cp{}{}{kind}_{contract}",
        version.major, version.minor
    );
    let text = format!(
        "#[pyo3::pymodule(gil_used = false)]\n\
         fn {entry}(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {{\n\
         entry::fill(module)\n}}\n"
    );
    let folder = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&folder).join("module.rs"), text).expect("OUT_DIR can be written");
}
