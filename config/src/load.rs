//! Reading the files in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::schema::{KEYS, Key};
use crate::{Config, Error, document};

/// The file that is read when nobody names another.
pub const DEFAULT_PATH: &str = "/etc/kata-mshv-vm-isolation/config.toml";

/// Names the configuration file of shims whose runtime class names none, in
/// containerd's environment.
pub const PATH_VARIABLE: &str = "KATA_MSHV_CONFIG";

/// The file of shims whose runtime class names none.
#[must_use]
pub fn default_path() -> PathBuf {
    path_of_environment().unwrap_or_else(|| DEFAULT_PATH.into())
}

/// The file that [`PATH_VARIABLE`] names.
#[must_use]
pub fn path_of_environment() -> Option<PathBuf> {
    std::env::var_os(PATH_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file set it.
    File {
        /// Which.
        path: PathBuf,
        /// 1-based.
        line: usize,
    },
    /// The pod set it.
    Annotation(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Annotation(name) => write!(f, "annotation {name}"),
        }
    }
}

/// A configuration that knows where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(crate) values: toml::Table,
    pub(crate) origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Reads `path` and the drop-in folder beside it (`config.toml` →
    /// `config.d/*.toml`, in the order of their names).
    ///
    /// # Errors
    ///
    /// A missing file is an error only when the operator named it: neither
    /// [`DEFAULT_PATH`] nor the drop-in folder needs to exist.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut loaded = Self::defaults();
        match std::fs::read_to_string(path) {
            Ok(text) => loaded.apply(path, &text)?,
            Err(e) if e.kind() == ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) => {}
            Err(source) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        for drop_in in drop_ins(&path.with_extension("d"))? {
            let text = std::fs::read_to_string(&drop_in).map_err(|source| Error::Read {
                path: drop_in.clone(),
                source,
            })?;
            loaded.apply(&drop_in, &text)?;
        }
        loaded.check_order()?;
        Ok(loaded)
    }

    /// What runs without any file.
    pub fn defaults() -> Self {
        let values = toml::Table::try_from(Config::default()).unwrap_or_default();
        Self {
            values,
            origins: BTreeMap::new(),
        }
    }

    /// The values as the program uses them.
    pub fn config(&self) -> Config {
        // Every value was checked against its row when it was set.
        self.values.clone().try_into().unwrap_or_default()
    }

    /// Every key with its value and origin, in the order of [`KEYS`].
    pub fn entries(&self) -> impl Iterator<Item = (&'static Key, &Value, Origin)> {
        KEYS.iter().filter_map(|key| {
            let origin = self
                .origins
                .get(key.path)
                .cloned()
                .unwrap_or(Origin::Default);
            Some((key, self.get(key.path)?, origin))
        })
    }

    fn apply(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        for assignment in document::parse(path, text)? {
            let origin = Origin::File {
                path: path.to_owned(),
                line: assignment.line,
            };
            self.set(assignment.key, assignment.value, origin);
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.origins.insert(key.path, origin);
        let slot = match key.path.split_once('.') {
            None => Some((&mut self.values, key.path)),
            Some((table, name)) => self
                .values
                .get_mut(table)
                .and_then(Value::as_table_mut)
                .map(|t| (t, name)),
        };
        if let Some((table, name)) = slot {
            table.insert(name.to_owned(), value);
        }
    }

    fn get(&self, path: &str) -> Option<&Value> {
        match path.split_once('.') {
            None => self.values.get(path),
            Some((table, name)) => self.values.get(table)?.get(name),
        }
    }

    pub(crate) fn check_order(&self) -> Result<(), Error> {
        let number = |path| {
            self.get(path)
                .and_then(Value::as_integer)
                .unwrap_or_default()
        };
        for (smaller, larger) in [
            ("guest.default_vcpus", "guest.max_vcpus"),
            ("guest.default_memory_mib", "guest.max_memory_mib"),
        ] {
            if number(smaller) > number(larger) {
                return Err(Error::Order {
                    smaller: format!("{smaller} = {}", number(smaller)),
                    larger: format!("{larger} = {}", number(larger)),
                });
            }
        }
        Ok(())
    }
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Driver;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn drop_ins_win_in_the_order_of_their_names() {
        let folder = folder(&[
            (
                "config.toml",
                "driver = \"built-in\"\nguest.default_vcpus = 2",
            ),
            ("config.d/20.toml", "guest.default_memory_mib = 512"),
            (
                "config.d/10.toml",
                "guest.default_memory_mib = 256\ndriver = \"qemu\"",
            ),
            ("config.d/readme", "not = toml ["),
        ]);
        let loaded = Loaded::read(&folder.path().join("config.toml")).unwrap();
        let config = loaded.config();
        assert_eq!(config.driver, Driver::Qemu);
        assert_eq!(
            (config.guest.default_vcpus, config.guest.default_memory_mib),
            (2, 512)
        );

        let origins: BTreeMap<_, _> = loaded
            .entries()
            .map(|(key, _, origin)| (key.path, origin.to_string()))
            .collect();
        let file = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(origins["driver"], format!("{}:2", file("config.d/10.toml")));
        assert_eq!(
            origins["guest.default_vcpus"],
            format!("{}:2", file("config.toml"))
        );
        assert_eq!(origins["qemu.path"], "default");
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Loaded::read(Path::new("/nonexistent/c.toml")).unwrap_err();
        assert_eq!(error.to_string(), "read configuration /nonexistent/c.toml");
    }

    #[test]
    fn a_default_above_the_maximum_is_refused() {
        let folder = folder(&[("config.toml", "[guest]\ndefault_vcpus = 8\nmax_vcpus = 4")]);
        let error = Loaded::read(&folder.path().join("config.toml")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("guest.default_vcpus = 8 is above guest.max_vcpus = 4")
        );
    }

    /// The file that is installed must be what it says it is: the defaults.
    #[test]
    fn the_installed_file_shows_every_key_with_its_default() {
        let shipped = include_str!("../config.toml");
        let uncommented: String = shipped
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|l| l.contains(" = "))
                    .unwrap_or(line)
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let mut loaded = Loaded::defaults();
        loaded
            .apply(Path::new("config.toml"), &uncommented)
            .unwrap();
        assert_eq!(loaded.config(), Config::default());
        assert_eq!(
            loaded.origins.len(),
            KEYS.len(),
            "a key is missing in config.toml"
        );
    }
}
