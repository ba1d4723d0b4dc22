//! How what need not be text travels all the same: paths and prefixes of URLs by their bytes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::gateway::Mount;

fn to_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn of_bytes(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

pub(super) mod path {
    use super::{Deserialize, Deserializer, Path, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        super::to_bytes(path).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(super::of_bytes(Vec::deserialize(from)?))
    }
}

pub(super) mod optional_path {
    use super::{Deserialize, Deserializer, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_deref().map(super::to_bytes).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Vec<u8>>::deserialize(from)?.map(super::of_bytes))
    }
}

pub(super) mod paths {
    use super::{Deserialize, Deserializer, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<_> = paths.iter().map(|path| super::to_bytes(path)).collect();
        paths.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<Vec<u8>>::deserialize(from)?;
        Ok(paths.into_iter().map(super::of_bytes).collect())
    }
}

pub(super) mod mount {
    use super::{Deserialize, Deserializer, Mount, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        mount: &Option<Mount>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let parts = mount
            .as_ref()
            .map(|mount| (mount.prefix(), mount.is_stripped()));
        parts.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Mount>, D::Error> {
        let parts = Option::<(Vec<u8>, bool)>::deserialize(from)?;
        Ok(parts.map(|(prefix, is_stripped)| Mount::of_parts(prefix, is_stripped)))
    }
}
