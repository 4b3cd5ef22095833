//! Configuration: one TOML file, a drop-in folder beside it, and a short list
//! of pod annotations.
//!
//! Every key is a row of [`schema::KEYS`]; what is not there is refused with
//! file, line and the nearest key that is. Later sources win: defaults, then
//! `config.toml`, then `config.d/*.toml` by name, then the pod's annotations.

mod annotations;
mod document;
mod error;
mod load;
pub mod schema;
mod settings;
mod value;

pub use annotations::ANNOTATIONS;
pub use error::Error;
pub use load::{DEFAULT_PATH, Loaded, Origin, PATH_VARIABLE, default_path, path_of_environment};
pub use settings::{Accel, BuiltIn, Config, Devices, Driver, FsCache, Guest, Log, Qemu, VhostNet};
