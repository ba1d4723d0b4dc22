//! Build script: makes the binary find, at run time, the Python that it was built against.

fn main() {
    println!("cargo:rerun-if-changed=scripts/build.rs");
    // Without an rpath the loader takes whatever library has the same soname, which may belong to another Python.
    pyo3_build_config::add_libpython_rpath_link_args();
    let python = pyo3_build_config::get()
        .executable()
        .unwrap_or("/usr/bin/python3");
    println!("cargo:rustc-env=BUILD_PYTHON={python}");
}
