//! Endpoints: where a controller listens and its peers connect, checked before libzmq sees them.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;
use crate::sys::Socket;

/// The longest path of a Unix socket, its closing zero not counted.
const IPC_PATH_MAX: usize = 107;

/// A `tcp://` or `ipc://` endpoint that is well formed.
///
/// ```
/// use taskyard_zmq::Endpoint;
/// let endpoint: Endpoint = "tcp://127.0.0.1:5555".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:5555");
/// assert!("http://127.0.0.1".parse::<Endpoint>().is_err());
/// # Ok::<(), taskyard_zmq::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it leaves something for the system to choose: a port, an interface, a path. One can
    /// listen there, but not connect.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self.ipc_path() {
            Some(path) => path == "*",
            None => self.0.contains('*') || self.0.ends_with(":0"),
        }
    }

    /// Where a peer finds it that found `known`: one that stands for every interface of its host is
    /// at the same host.
    ///
    /// ```
    /// use taskyard_zmq::Endpoint;
    /// let known: Endpoint = "tcp://node-7:5555".parse()?;
    /// let told: Endpoint = "tcp://0.0.0.0:6001".parse()?;
    /// assert_eq!(told.seen_from(&known).as_str(), "tcp://node-7:6001");
    /// # Ok::<(), taskyard_zmq::Error>(())
    /// ```
    #[must_use]
    pub fn seen_from(&self, known: &Self) -> Self {
        match (self.tcp_host_port(), known.tcp_host_port()) {
            (Some(("0.0.0.0" | "[::]" | "*", port)), Some((host, _))) => {
                Self(format!("tcp://{host}:{port}"))
            }
            _ => self.clone(),
        }
    }

    /// Whether nobody on another host can reach it: a loopback address in numbers, or a path. What
    /// a name or an interface stands for is not looked up.
    ///
    /// ```
    /// use taskyard_zmq::Endpoint;
    /// let is_here = |text: &str| text.parse::<Endpoint>().unwrap().is_on_this_host();
    /// assert!(is_here("tcp://127.0.0.1:*") && is_here("tcp://[::1]:5") && is_here("ipc://*"));
    /// assert!(!is_here("tcp://*:5") && !is_here("tcp://0.0.0.0:5") && !is_here("tcp://[::]:5"));
    /// ```
    #[must_use]
    pub fn is_on_this_host(&self) -> bool {
        let Some((host, _)) = self.tcp_host_port() else {
            return true;
        };
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match inner {
            Some(host) => host.parse().is_ok_and(|host: Ipv6Addr| host.is_loopback()),
            None => host.parse().is_ok_and(|host: Ipv4Addr| host.is_loopback()),
        }
    }

    /// The endpoint of the last time, if it is one that this wildcard could become.
    ///
    /// ```
    /// use taskyard_zmq::Endpoint;
    /// let asked: Endpoint = "tcp://*:*".parse()?;
    /// let last: Endpoint = "tcp://0.0.0.0:40123".parse()?;
    /// assert_eq!(asked.as_last_time(&last), Some(last));
    /// let elsewhere: Endpoint = "tcp://127.0.0.1:40123".parse()?;
    /// assert_eq!(asked.as_last_time(&elsewhere), None);
    /// # Ok::<(), taskyard_zmq::Error>(())
    /// ```
    #[must_use]
    pub fn as_last_time(&self, last: &Self) -> Option<Self> {
        let ((host, port), (last_host, _)) = (self.tcp_host_port()?, last.tcp_host_port()?);
        let every = |host| if host == "*" { "0.0.0.0" } else { host };
        let is_free = port == "*" || port == "0";
        (is_free && !last.is_wildcard() && every(host) == every(last_host)).then(|| last.clone())
    }

    fn tcp_host_port(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix("tcp://")?.rsplit_once(':')
    }

    /// The path, of an `ipc://` endpoint.
    fn ipc_path(&self) -> Option<&str> {
        self.0.strip_prefix("ipc://")
    }

    /// Listens, and says where: a wildcard is a definite endpoint afterwards.
    pub(crate) fn bind(&self, socket: &Socket) -> Result<Self, Error> {
        if self.ipc_path() == Some("*") {
            return ipc_in_private_folder()?.bind(socket);
        }
        let refused = |reason: String| Error::Bind {
            endpoint: self.clone(),
            reason,
        };
        if let Some(path) = self.ipc_path() {
            check_ipc_path(path).map_err(refused)?;
        }
        self.prepare(socket)?;
        socket
            .options()
            .bind(&self.0)
            .map_err(|error| refused(bind_advice(error)))?;
        self.keep_to_ourselves().map_err(refused)?;
        match socket.options().get_last_endpoint() {
            Ok(Ok(bound)) => Ok(Self(bound)),
            _ => Err(refused("libzmq does not say where it listens".into())),
        }
    }

    /// Takes the file of a Unix socket away that we listen on: libzmq leaves it behind.
    pub(crate) fn remove_file(&self) {
        if let Some(path) = self.ipc_path()
            && !path.starts_with('@')
        {
            // Somebody else may have taken it away, and whoever listens there next replaces it.
            let _ = fs::remove_file(path);
            if let Some(folder) = Path::new(path).parent()
                && is_private_folder(folder)
            {
                // Only if it is empty.
                let _ = fs::remove_dir(folder);
            }
        }
    }

    /// Nobody else may connect to the file of a Unix socket, whatever the umask says.
    fn keep_to_ourselves(&self) -> Result<(), String> {
        match self.ipc_path() {
            Some(path) if !path.starts_with('@') => {
                fs::set_permissions(path, Permissions::from_mode(0o600))
                    .map_err(|error| format!("its file cannot be kept private: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// Starts to connect; libzmq goes on trying by itself.
    pub(crate) fn connect(&self, socket: &Socket) -> Result<(), Error> {
        let refused = |reason: String| Error::Connect {
            endpoint: self.clone(),
            reason,
        };
        if self.is_wildcard() {
            return Err(refused(
                "it leaves open where; give a definite host and port, or path".into(),
            ));
        }
        self.prepare(socket)?;
        socket
            .options()
            .connect(&self.0)
            .map_err(|error| refused(error.to_string()))
    }

    /// libzmq reads IPv6 addresses only if told to, and then listens on nothing but IPv6.
    fn prepare(&self, socket: &Socket) -> Result<(), Error> {
        let ipv6 = self.0.contains('[');
        socket
            .options()
            .set_ipv6(ipv6)
            .map_err(|error| Error::zmq("setting up IPv6", error))
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let checked = match text.split_once("://") {
            Some(("tcp", address)) => check_tcp(address),
            Some(("ipc", path)) => check_ipc(path),
            Some(_) => Err("only tcp:// and ipc:// are served"),
            None => Err("it starts with tcp:// or ipc://, as in tcp://127.0.0.1:5555"),
        };
        match checked {
            Ok(()) if text.contains(['\0', '\n']) => Err("it has a zero byte or a line break"),
            other => other,
        }
        .map(|()| Self(text.to_owned()))
        .map_err(|reason| Error::Endpoint {
            text: text.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_tcp(address: &str) -> Result<(), &'static str> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or("it has no port, as in tcp://host:5555")?;
    if host.is_empty() {
        return Err("it has no host; * means every interface, as in tcp://*:5555");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 address stands in brackets, as in tcp://[::1]:5555");
    }
    if port != "*" && port.parse::<u16>().is_err() {
        return Err("its port is no number from 0 to 65535; * means any free one");
    }
    Ok(())
}

fn check_ipc(path: &str) -> Result<(), &'static str> {
    match path.len() {
        0 => Err("it has no path, as in ipc:///run/taskyard.sock"),
        len if len > IPC_PATH_MAX => {
            Err("its path is longer than the 107 bytes that the system takes")
        }
        _ => Ok(()),
    }
}

/// A path in a folder that nobody else can look into. (libzmq would make one in the folder that the
/// process happens to be in.)
fn ipc_in_private_folder() -> Result<Endpoint, Error> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = private_folder(&number.to_string());
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return format!("ipc://{}", folder.join("socket").display()).parse(),
            // Somebody's who had our process id.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::os("making a folder for a socket", &error)),
        }
    }
}

fn private_folder(number: &str) -> PathBuf {
    let name = format!("taskyard-{}-{number}", std::process::id());
    std::env::temp_dir().join(name)
}

fn is_private_folder(folder: &Path) -> bool {
    let number = folder
        .to_str()
        .and_then(|folder| folder.strip_prefix(private_folder("").to_str()?));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// libzmq silently takes the path of a socket that somebody still listens on: asks first.
fn check_ipc_path(path: &str) -> Result<(), String> {
    // An abstract name has no file.
    if path.starts_with('@') {
        return Ok(());
    }
    if UnixStream::connect(path).is_ok() {
        return Err("somebody listens there; stop it, or choose another path".into());
    }
    let path = Path::new(path);
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => Err(format!(
            "there is no folder {}; make it first",
            folder.display()
        )),
        _ if path.is_dir() => Err("that is a folder; name a file in it".into()),
        _ => Ok(()),
    }
}

fn bind_advice(error: zmq::Error) -> String {
    match error {
        zmq::Error::EADDRINUSE => {
            "somebody listens there; stop it, or choose another port (* takes a free one)".into()
        }
        zmq::Error::EADDRNOTAVAIL | zmq::Error::ENODEV => {
            "no interface of this host has that address; * means every one".into()
        }
        zmq::Error::EACCES => {
            "no permission; choose a port above 1023, or a folder of yours".into()
        }
        zmq::Error::EMFILE => "no file descriptors left; raise `ulimit -n`".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        text.parse::<Endpoint>()
            .expect_err("is not well formed")
            .to_string()
    }

    #[test]
    fn well_formed_endpoints_keep_their_text() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://*:*",
            "tcp://node-7.cluster:1",
            "tcp://[::1]:9",
            "ipc:///run/taskyard.sock",
            "ipc://@abstract",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn each_mistake_is_named_on_one_line() {
        assert!(reason("127.0.0.1:5555").contains("starts with tcp://"));
        assert!(reason("udp://x:1").contains("only tcp"));
        assert!(reason("tcp://localhost").contains("no port"));
        assert!(reason("tcp://:5555").contains("no host"));
        assert!(reason("tcp://::1:5555").contains("brackets"));
        assert!(reason("tcp://h:70000").contains("65535"));
        assert!(reason("ipc://").contains("no path"));
        assert!(reason(&format!("ipc://{}", "p".repeat(108))).contains("107"));
        assert!(reason("ipc:///a\0b").contains("zero byte"));
    }

    #[test]
    fn wildcards_are_known() {
        let wild = |text: &str| text.parse::<Endpoint>().unwrap().is_wildcard();
        assert!(wild("tcp://*:5555"));
        assert!(wild("tcp://127.0.0.1:0"));
        assert!(wild("tcp://127.0.0.1:*"));
        assert!(wild("ipc://*"));
        assert!(!wild("tcp://127.0.0.1:10"));
        assert!(!wild("ipc:///tmp/a*b"));
    }

    #[test]
    fn only_loopback_and_paths_are_on_this_host() {
        let is_here = |text: &str| text.parse::<Endpoint>().unwrap().is_on_this_host();
        for here in ["tcp://127.9.9.9:1", "tcp://[::1]:*", "ipc:///x", "ipc://@x"] {
            assert!(is_here(here), "{here}");
        }
        for text in [
            "tcp://*:*",
            "tcp://0.0.0.0:1",
            "tcp://[::]:1",
            "tcp://[::ffff:127.0.0.1]:1",
            "tcp://10.0.0.1:1",
            "tcp://lo:1",
            "tcp://localhost:1",
            "tcp://127.1:1",
            "tcp://[fe80::1%eth0]:1",
        ] {
            assert!(!is_here(text), "{text}");
        }
    }

    #[test]
    fn only_our_own_folders_go_with_their_socket() {
        assert!(is_private_folder(&private_folder("17")));
        assert!(!is_private_folder(&private_folder("x")));
        assert!(!is_private_folder(&private_folder("")));
        assert!(!is_private_folder(Path::new("/run/taskyard-1-1")));
    }
}
