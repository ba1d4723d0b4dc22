//! Where an application's file is, and in which packages it lies.

use std::path::{Path, PathBuf};

use super::is_identifier;

/// An application's file.
#[derive(Debug)]
pub struct ScriptFile {
    /// As it was named, absolute: `__file__`, as `python FILE` has it.
    pub file: PathBuf,
    /// Where it is when links are followed.
    pub real: PathBuf,
    /// The names of the packages that it lies in, outermost first.
    pub packages: Vec<String>,
    /// The folder above those, or else the file's own.
    pub folder: PathBuf,
}

impl ScriptFile {
    /// Looks where the file is. Nothing is read of it.
    ///
    /// # Errors
    /// When there is no such file, or a folder on the way to it is closed.
    pub fn find(named: &Path) -> std::io::Result<Self> {
        let real = named.canonicalize()?;
        let mut packages = Vec::new();
        let mut folder = real.parent().unwrap_or(Path::new("/"));
        while let Some(name) = package(folder) {
            packages.insert(0, name);
            folder = folder.parent().unwrap_or(Path::new("/"));
        }
        Ok(Self {
            file: std::path::absolute(named)?,
            folder: folder.to_owned(),
            packages,
            real,
        })
    }
}

/// The name of the package that this folder is, if it is one.
fn package(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    let is_package = is_identifier(name) && folder.join("__init__.py").is_file();
    is_package.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::ScriptFile;

    #[test]
    fn packages_are_folders_with_a_name_and_an_init_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("example.com/shop/web")).unwrap();
        for place in ["example.com", "example.com/shop", "example.com/shop/web"] {
            fs::write(root.join(place).join("__init__.py"), "").unwrap();
        }
        fs::write(root.join("example.com/shop/web/site.py"), "").unwrap();
        let script = ScriptFile::find(&root.join("example.com/shop/web/site.py")).unwrap();
        assert_eq!(script.packages, ["shop", "web"]);
        assert_eq!(script.folder, root.join("example.com"));
        std::os::unix::fs::symlink(
            root.join("example.com/shop/web/site.py"),
            root.join("link.cgi"),
        )
        .unwrap();
        let script = ScriptFile::find(&root.join("link.cgi")).unwrap();
        assert_eq!(script.folder, root.join("example.com"));
        assert_eq!(script.file, root.join("link.cgi"));
        assert!(ScriptFile::find(&root.join("nothing")).is_err());
    }
}
