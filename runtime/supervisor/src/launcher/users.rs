//! From `user[:group]` to the numbers the kernel knows, by the system's own name service (passwd files, LDAP, …).

use super::LaunchError;
use nix::unistd::{Group, User, getgrouplist};
use std::{ffi::CString, path::PathBuf};

/// Who a process runs as, or a file belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one among them.
    pub(crate) groups: Vec<u32>,
    /// Login name, if the uid has one.
    pub(crate) name: Option<String>,
    /// Home folder, if the uid has one.
    pub(crate) home: Option<PathBuf>,
}

impl Account {
    /// This process's own.
    pub(crate) fn own() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let entry = User::from_uid(uid.into()).ok().flatten();
        Self {
            uid,
            gid,
            groups: vec![gid],
            name: entry.as_ref().map(|user| user.name.clone()),
            home: entry.map(|user| user.dir),
        }
    }

    /// Root.
    pub(crate) fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: vec![0],
            name: Some("root".into()),
            home: Some("/root".into()),
        }
    }

    /// Looks `user` or `user:group` up. Blocking: a name service may ask the network.
    pub(crate) fn resolve(text: &str) -> Result<Self, LaunchError> {
        super::check::user(text)?;
        let wrong = |reason: String| LaunchError::User {
            user: text.into(),
            reason,
        };
        let (user, group) = text
            .split_once(':')
            .map_or((text, None), |(u, g)| (u, Some(g)));
        let number: Option<u32> = user.parse().ok();
        let entry = match number {
            Some(uid) => User::from_uid(uid.into()),
            None => User::from_name(user),
        }
        .map_err(|e| wrong(format!("the look-up of the user failed: {e}")))?;
        let group = group
            .map(|name| match name.parse::<u32>() {
                Ok(gid) => Ok(gid),
                Err(_) => Group::from_name(name)
                    .map_err(|e| wrong(format!("the look-up of the group failed: {e}")))?
                    .map(|group| group.gid.as_raw())
                    .ok_or_else(|| wrong(format!("there is no group {name:?}"))),
            })
            .transpose()?;
        match (entry, number, group) {
            (Some(entry), _, group) => {
                let gid = group.unwrap_or(entry.gid.as_raw());
                let name = CString::new(entry.name.as_str()).map_err(|e| wrong(e.to_string()))?;
                let groups = getgrouplist(&name, gid.into())
                    .map_err(|e| wrong(format!("the look-up of its groups failed: {e}")))?;
                Ok(Self {
                    uid: entry.uid.as_raw(),
                    gid,
                    groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
                    name: Some(entry.name),
                    home: Some(entry.dir),
                })
            }
            // A number nobody bears is fine (containers do that) as long as its group is said.
            (None, Some(uid), Some(gid)) => Ok(Self {
                uid,
                gid,
                groups: vec![gid],
                name: None,
                home: None,
            }),
            (None, Some(_), None) => Err(wrong(
                "no user has this number: give a group too, as in 1000:1000".into(),
            )),
            (None, None, _) => Err(wrong("there is no such user".into())),
        }
    }

    /// As `uid:gid`.
    pub(crate) fn numbers(&self) -> String {
        format!("{}:{}", self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up() {
        assert_eq!(
            Account::resolve("root").unwrap(),
            Account {
                groups: Account::resolve("0").unwrap().groups,
                ..Account::root()
            }
        );
        let nobody = Account::resolve("nobody:root").unwrap();
        assert_eq!((nobody.uid, nobody.gid), (65534, 0));
        let numbers = Account::resolve("54321:12345").unwrap();
        assert_eq!(
            (numbers.uid, numbers.gid, numbers.name),
            (54321, 12345, None)
        );
    }

    #[test]
    fn what_does_not_exist_is_named() {
        for (text, reason) in [
            ("no-such-user", "there is no such user"),
            (
                "54321",
                "no user has this number: give a group too, as in 1000:1000",
            ),
            ("root:no-such-group", "there is no group \"no-such-group\""),
        ] {
            assert_eq!(
                Account::resolve(text),
                Err(LaunchError::User {
                    user: text.into(),
                    reason: reason.into()
                })
            );
        }
    }
}
