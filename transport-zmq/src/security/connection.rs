//! Connection files: where the controller is, and the key to come in by.
//!
//! The controller writes them into one folder at each start: one for each role, so that a worker's
//! host never sees a client's key; and one for itself, from which it takes keys and ports when it
//! is started again.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::CWD;
use serde::{Deserialize, Serialize};

use super::{Credentials, Key, Keys, Mechanism, Role, Security, file, key};
use crate::{Endpoint, Error};

/// What a file says in `taskyard`: the version of its format.
const VERSION: u32 = 1;
const CONTROLLER: &str = "taskyard-controller.json";

/// What a client, worker or operator is given.
#[derive(Debug, Serialize, Deserialize)]
struct PeerFile {
    taskyard: u32,
    role: Role,
    endpoint: String,
    mechanism: Mechanism,
    /// PLAIN: the password, with the role as user. CURVE: the secret key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// CURVE: belongs to `key`; for libraries that want to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// CURVE: the controller's public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_key: Option<String>,
}

/// What the controller keeps for itself.
#[derive(Debug, Serialize, Deserialize)]
struct ControllerFile {
    taskyard: u32,
    clients: String,
    workers: String,
    mechanism: Mechanism,
    /// The key of the marks on what workers bring over a restart.
    ticket_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<KeysText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeysText {
    client: String,
    worker: String,
    operator: String,
    server: String,
}

/// What a controller of this folder published last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whom it let in.
    pub security: Security,
    /// Its own secret, that no peer has: see [`ShardOptions::ticket_key`](crate::ShardOptions).
    pub ticket_key: Key,
    /// Where clients connected.
    pub clients: Endpoint,
    /// Where workers connected.
    pub workers: Endpoint,
}

/// The folder of a controller's connection files, kept for this controller alone while it lives.
///
/// ```
/// use taskyard_zmq::{ClientOptions, ConnectionDir, Key, Published, Security};
/// # let path = std::env::temp_dir().join(format!("taskyard-doc-{}", std::process::id()));
/// let dir = ConnectionDir::open(&path)?;
/// assert_eq!(dir.last()?, None);
/// let published = Published {
///     security: Security::fresh()?,
///     ticket_key: Key::fresh()?,
///     clients: "tcp://127.0.0.1:7600".parse()?,
///     workers: "tcp://127.0.0.1:7601".parse()?,
/// };
/// dir.publish(&published)?;
/// assert_eq!(dir.last()?, Some(published));
/// let options = ClientOptions::from_connection_file(path.join("taskyard-client.json"))?;
/// assert_eq!(options.endpoint.as_str(), "tcp://127.0.0.1:7600");
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), taskyard_zmq::Error>(())
/// ```
#[derive(Debug)]
pub struct ConnectionDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl ConnectionDir {
    /// Where it is unless somebody says otherwise: `taskyard` in the user's runtime folder, or
    /// `.taskyard` in the present one where there is none.
    #[must_use]
    pub fn default_path() -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join("taskyard"),
            _ => PathBuf::from(".taskyard"),
        }
    }

    /// The file of a role, in the folder `path`.
    #[must_use]
    pub fn file_of(path: &Path, role: Role) -> PathBuf {
        path.join(file_name(role))
    }

    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] if others can write to it, or another controller has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let dir = file::open_dir(path)?;
        Ok(Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.into()),
            dir,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was published here last; `None` if nothing was.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] if what is there is no such file, or not safe from others.
    pub fn last(&self) -> Result<Option<Published>, Error> {
        let refused = |reason| self.refused(CONTROLLER, reason);
        let text = file::read(self.dir.as_fd(), Path::new(CONTROLLER)).map_err(refused)?;
        let parsed = text.map(|text| parse_controller(&text)).transpose();
        parsed.map_err(|reason| {
            refused(format!(
                "{reason}; remove it and start anew: all peers then need new files"
            ))
        })
    }

    /// Writes all files, each of them whole or not at all.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] if one cannot be written.
    pub fn publish(&self, published: &Published) -> Result<(), Error> {
        // The keys first: what peers hold must be known after a crash.
        self.write(CONTROLLER, &ControllerFile::new(published))?;
        for role in Role::ALL {
            self.write(&file_name(role), &PeerFile::new(role, published)?)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(content).map_err(|error| error.to_string());
        text.and_then(|text| file::write(self.dir.as_fd(), name, &(text + "\n")))
            .map_err(|reason| self.refused(name, reason))
    }

    fn refused(&self, name: &str, reason: String) -> Error {
        Error::ConnectionFile {
            path: self.path.join(name),
            reason,
        }
    }
}

/// Reads what a peer was given.
pub(crate) fn read_connection_file(path: &Path) -> Result<(Endpoint, Credentials), Error> {
    let refused = |reason| Error::ConnectionFile {
        path: path.into(),
        reason,
    };
    let text = file::read(CWD, path).map_err(refused)?.ok_or_else(|| {
        refused("there is none: start the controller first, or copy it from its host".into())
    })?;
    parse_peer(&text).map_err(|reason| {
        refused(format!(
            "{reason}; copy it from the controller's host again"
        ))
    })
}

fn file_name(role: Role) -> String {
    format!("taskyard-{role}.json")
}

impl PeerFile {
    fn new(role: Role, published: &Published) -> Result<Self, Error> {
        let endpoint = match role {
            Role::Client | Role::Operator => &published.clients,
            Role::Worker => &published.workers,
        };
        let mut file = Self {
            taskyard: VERSION,
            role,
            endpoint: endpoint.to_string(),
            mechanism: published.security.mechanism(),
            key: None,
            public_key: None,
            server_key: None,
        };
        match published.security.credentials(role)? {
            Credentials::None => {}
            Credentials::Plain { key, .. } => file.key = Some(key.to_text()),
            Credentials::Curve { key, server } => {
                file.public_key = Some(key::encode(&key.curve_public()?));
                file.key = Some(key.to_text());
                file.server_key = Some(key::encode(&server));
            }
        }
        Ok(file)
    }
}

impl ControllerFile {
    fn new(published: &Published) -> Self {
        let keys = match &published.security {
            Security::None => None,
            Security::Keys(keys) => Some(KeysText {
                client: keys.client.to_text(),
                worker: keys.worker.to_text(),
                operator: keys.operator.to_text(),
                server: keys.server.to_text(),
            }),
        };
        Self {
            taskyard: VERSION,
            clients: published.clients.to_string(),
            workers: published.workers.to_string(),
            mechanism: published.security.mechanism(),
            ticket_key: published.ticket_key.to_text(),
            keys,
        }
    }
}

/// Says where an error is, but not what stands there: it may be a key.
fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is no connection file (line {line}, column {column})")
    })
}

fn check_version(version: u32) -> Result<(), String> {
    if version == VERSION {
        Ok(())
    } else {
        Err(format!("its format is {version}, and {VERSION} is known"))
    }
}

fn parse_key(text: Option<&str>, name: &str) -> Result<[u8; 32], String> {
    let text = text.ok_or_else(|| format!("it has no {name}"))?;
    key::decode(text).ok_or_else(|| format!("its {name} is none"))
}

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

fn parse_controller(text: &str) -> Result<Published, String> {
    let file: ControllerFile = from_json(text)?;
    check_version(file.taskyard)?;
    let key = |text: &str, name| parse_key(Some(text), name).map(Key::from_bytes);
    let security = match (file.mechanism, &file.keys) {
        (Mechanism::Null, _) => Security::None,
        (_, None) => return Err("it has no keys".into()),
        (mechanism, Some(keys)) => Security::Keys(Arc::new(Keys {
            mechanism,
            client: key(&keys.client, "client key")?,
            worker: key(&keys.worker, "worker key")?,
            operator: key(&keys.operator, "operator key")?,
            server: key(&keys.server, "server key")?,
        })),
    };
    Ok(Published {
        security,
        ticket_key: key(&file.ticket_key, "ticket key")?,
        clients: parse_endpoint(&file.clients)?,
        workers: parse_endpoint(&file.workers)?,
    })
}

fn parse_peer(text: &str) -> Result<(Endpoint, Credentials), String> {
    let file: PeerFile = from_json(text)?;
    check_version(file.taskyard)?;
    let key = || parse_key(file.key.as_deref(), "key").map(Key::from_bytes);
    let credentials = match file.mechanism {
        Mechanism::Null => Credentials::None,
        Mechanism::Plain => Credentials::Plain {
            role: file.role,
            key: key()?,
        },
        Mechanism::Curve => Credentials::Curve {
            key: key()?,
            server: parse_key(file.server_key.as_deref(), "server_key")?,
        },
    };
    Ok((parse_endpoint(&file.endpoint)?, credentials))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder of one test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("taskyard-files-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn published() -> Published {
        Published {
            security: Security::fresh().unwrap(),
            ticket_key: Key::fresh().unwrap(),
            clients: "tcp://127.0.0.1:7600".parse().unwrap(),
            workers: "ipc:///tmp/workers".parse().unwrap(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Why a peer cannot use this file.
    fn advice(path: &Path) -> String {
        let text = read_connection_file(path).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[test]
    fn files_are_private_and_each_role_has_its_own_key_alone() {
        let folder = Folder::new("private");
        let dir = ConnectionDir::open(&folder.0).unwrap();
        let published = published();
        dir.publish(&published).unwrap();
        assert_eq!(mode(&folder.0), 0o700);
        let entries = fs::read_dir(&folder.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let all = ["client", "controller", "operator", "worker"];
        assert_eq!(
            names,
            all.map(|name| std::ffi::OsString::from(format!("taskyard-{name}.json")))
        );
        let Security::Keys(keys) = &published.security else {
            panic!("keys were asked for");
        };
        for role in Role::ALL {
            let path = ConnectionDir::file_of(&folder.0, role);
            assert_eq!(mode(&path), 0o600);
            let text = fs::read_to_string(&path).unwrap();
            for other in Role::ALL {
                let holds = text.contains(&keys.of(other).to_text());
                assert_eq!(holds, other == role, "{other}'s key in {role}'s file");
            }
            assert!(
                !text.contains(&keys.server.to_text())
                    && !text.contains(&published.ticket_key.to_text())
            );
            let (_, credentials) = read_connection_file(&path).unwrap();
            assert_eq!(credentials, keys.credentials(role).unwrap());
        }
        assert_eq!(mode(&folder.0.join(CONTROLLER)), 0o600);
        assert_eq!(dir.last().unwrap(), Some(published));
    }

    #[test]
    fn a_folder_has_one_controller_and_no_other_writers() {
        let folder = Folder::new("folder");
        let dir = ConnectionDir::open(&folder.0).unwrap();
        let text = |path: &Path| ConnectionDir::open(path).unwrap_err().to_string();
        assert!(text(&folder.0).contains("another controller"));
        drop(dir);
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(text(&folder.0).contains("chmod 700"));
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ConnectionDir::open(&folder.0).is_ok());
        let link = folder.0.join("link");
        symlink(&folder.0, &link).unwrap();
        assert!(text(&link).contains("symbolic link"));
        assert!(text(&folder.0.join("no/such")).contains("make that first"));
    }

    #[test]
    fn what_is_unsafe_or_garbage_is_refused_with_advice() {
        let folder = Folder::new("unsafe");
        let dir = ConnectionDir::open(&folder.0).unwrap();
        dir.publish(&published()).unwrap();
        let path = ConnectionDir::file_of(&folder.0, Role::Client);
        let good = fs::read_to_string(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(advice(&path).contains("mode 0640): chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key = published().security.credentials(Role::Client).unwrap();
        let (Credentials::Plain { key, .. } | Credentials::Curve { key, .. }) = key else {
            panic!("keys were asked for");
        };
        for garbage in ["", "{}", "\0\u{1}", &"{".repeat(70_000), &key.to_text()] {
            fs::write(&path, garbage).unwrap();
            let said = advice(&path);
            assert!(said.contains("connection file"), "{said}");
            assert!(!said.contains(&key.to_text()), "an error shows a key");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(advice(&path).contains("cannot be read"));
        fs::write(&path, good.replace("\"taskyard\": 1", "\"taskyard\": 2")).unwrap();
        assert!(advice(&path).contains("its format is 2"));
        fs::write(&path, good.replace("\"key\": \"", "\"key\": \"x")).unwrap();
        assert!(advice(&path).contains("its key is none"));
        fs::write(&path, good.replace("tcp://", "udp://")).unwrap();
        assert!(advice(&path).contains("no endpoint"));
        fs::remove_file(&path).unwrap();
        assert!(advice(&path).contains("start the controller first"));
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let folder = Folder::new("link");
        let dir = ConnectionDir::open(&folder.0).unwrap();
        let victim = folder.0.join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in [CONTROLLER, "taskyard-worker.json"] {
            let path = folder.0.join(name);
            let _ = fs::remove_file(&path);
            symlink(&victim, &path).unwrap();
            let text = dir.publish(&published()).unwrap_err().to_string();
            assert!(text.contains("remove it"), "{text}");
            assert!(advice(&path).contains("symbolic link"));
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let left = fs::read_dir(&folder.0).unwrap();
        let temporary = left.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with('.')
        });
        assert_eq!(temporary.count(), 0, "no half of a file is left");
    }
}
