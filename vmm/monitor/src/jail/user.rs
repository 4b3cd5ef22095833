//! Whom the process becomes.

use std::fmt;
use std::str::FromStr;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::JailError;

/// Nobody, by the convention of Linux (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;

/// A user and a group, neither of them root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

/// It is no user that a guest's process may be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not UID:GID, two numbers above 0")]
pub struct UserError {
    text: String,
}

impl Default for User {
    fn default() -> Self {
        Self {
            uid: NOBODY,
            gid: NOBODY,
        }
    }
}

/// `UID:GID`, decimal.
impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let parse = || {
            let (uid, gid) = text.split_once(':')?;
            Some(Self {
                uid: id(uid)?,
                gid: id(gid)?,
            })
        };
        parse().ok_or_else(|| UserError {
            text: text.to_owned(),
        })
    }
}

/// The last number is no id: to the kernel it means no change.
fn id(text: &str) -> Option<u32> {
    let id = text.parse().ok()?;
    (1..u32::MAX).contains(&id).then_some(id)
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl User {
    /// For good: no saved id leads back.
    pub(super) fn become_it(self) -> Result<(), JailError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&[])
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid))
            .map_err(|errno| JailError::User {
                user: self,
                source: errno.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_nonsense_are_refused() {
        let user: User = "970:971".parse().unwrap();
        assert_eq!(user.to_string(), "970:971");
        for text in [
            "0:1",
            "1:0",
            "1",
            "1:",
            ":1",
            "-1:1",
            "1:2:3",
            "4294967295:1",
            "root:root",
        ] {
            assert!(text.parse::<User>().is_err(), "{text}");
        }
    }
}
