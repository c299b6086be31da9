//! Who may come in: a key for each role, what the two ends of a connection do with it, and the
//! files that carry the keys.
//!
//! | role | comes in where | holds |
//! | --- | --- | --- |
//! | client | clients connect | `taskyard-client.json` |
//! | worker | workers connect | `taskyard-worker.json` |
//! | operator | clients connect | `taskyard-operator.json` |
//!
//! The controller alone holds all keys, in `taskyard-controller.json`. A key is the password of
//! PLAIN where libzmq has no CURVE, and the secret key of CURVE where it has: one secret a role,
//! and the files look the same. Since PLAIN shows its passwords to whoever listens, keys are made
//! anew when the mechanism changes.

mod connection;
mod file;
mod key;
mod refusals;
mod zap;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use taskyard_protocol::Side;

pub(crate) use connection::read_connection_file;
pub use connection::{ConnectionDir, Published};
pub use key::Key;
pub(crate) use refusals::Refusals;
pub(crate) use zap::Zap;

use crate::sys::Socket;
use crate::{Endpoint, Error};

/// `ZMQ_ZAP_ENFORCE_DOMAIN` of `zmq.h`, which `zmq` does not name.
const ZAP_ENFORCE_DOMAIN: i32 = 93;

/// What a peer may do, by the key that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Submits tasks, and sees its own.
    Client,
    /// Runs tasks.
    Worker,
    /// A client that may see and cancel the tasks of others.
    Operator,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Client, Self::Worker, Self::Operator];

    /// Its name in files, and as the user name of PLAIN.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.name().as_bytes() == name)
    }

    /// Who is meant at an endpoint that does not ask.
    pub(crate) const fn usual_at(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Worker => Self::Worker,
        }
    }

    const fn may_enter(self, side: Side) -> bool {
        match self {
            Self::Client | Self::Operator => matches!(side, Side::Client),
            Self::Worker => matches!(side, Side::Worker),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the ends of a connection prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// Both ends prove that they hold their keys, and all that is said is encrypted.
    Curve,
    /// The peer tells its key. Nothing is encrypted, and the controller proves nothing.
    Plain,
    /// Nobody is asked.
    Null,
}

impl Mechanism {
    /// The better one that the linked libzmq has.
    #[must_use]
    pub fn best() -> Self {
        if zmq::has("curve").unwrap_or(false) {
            Self::Curve
        } else {
            Self::Plain
        }
    }
}

/// All keys of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    mechanism: Mechanism,
    client: Key,
    worker: Key,
    operator: Key,
    /// The controller's own, for CURVE.
    server: Key,
}

impl Keys {
    /// New ones, for the best mechanism that there is.
    ///
    /// # Errors
    /// If the system has no randomness, which it should.
    pub fn fresh() -> Result<Self, Error> {
        Ok(Self {
            mechanism: Mechanism::best(),
            client: Key::fresh()?,
            worker: Key::fresh()?,
            operator: Key::fresh()?,
            server: Key::fresh()?,
        })
    }

    /// How they are used.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The key of a role.
    #[must_use]
    pub const fn of(&self, role: Role) -> &Key {
        match role {
            Role::Client => &self.client,
            Role::Worker => &self.worker,
            Role::Operator => &self.operator,
        }
    }

    /// What a peer of this role connects with.
    ///
    /// # Errors
    /// If libzmq lacks CURVE, and these keys are for it.
    pub fn credentials(&self, role: Role) -> Result<Credentials, Error> {
        let key = self.of(role).clone();
        Ok(match self.mechanism {
            Mechanism::Curve => Credentials::Curve {
                key,
                server: self.server.curve_public()?,
            },
            _ => Credentials::Plain { role, key },
        })
    }

    /// The role whose public key this is.
    fn role_of_public(&self, public: &[u8], publics: &[(Role, [u8; 32])]) -> Option<Role> {
        debug_assert_eq!(self.mechanism, Mechanism::Curve);
        publics
            .iter()
            .find_map(|(role, key)| key::same(key, public).then_some(*role))
    }

    /// The public halves, for CURVE.
    fn publics(&self) -> Result<Vec<(Role, [u8; 32])>, Error> {
        let public = |role| Ok((role, self.of(role).curve_public()?));
        Role::ALL.into_iter().map(public).collect()
    }
}

/// Whom a controller lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Everybody who can reach its endpoints, which are on this host therefore.
    None,
    /// Who holds one of these keys.
    Keys(Arc<Keys>),
}

impl Security {
    /// New keys that no file holds: for peers in the same process, and those that they tell.
    ///
    /// # Errors
    /// As for [`Keys::fresh`].
    pub fn fresh() -> Result<Self, Error> {
        Ok(Self::Keys(Arc::new(Keys::fresh()?)))
    }

    /// How peers prove who they are.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::None => Mechanism::Null,
            Self::Keys(keys) => keys.mechanism(),
        }
    }

    /// What a peer of this role connects with.
    ///
    /// # Errors
    /// As for [`Keys::credentials`].
    pub fn credentials(&self, role: Role) -> Result<Credentials, Error> {
        match self {
            Self::None => Ok(Credentials::None),
            Self::Keys(keys) => keys.credentials(role),
        }
    }

    /// Whether what is said at this endpoint crosses a network, and in the clear.
    #[must_use]
    pub fn is_exposed_at(&self, endpoint: &Endpoint) -> bool {
        self.mechanism() != Mechanism::Curve && !endpoint.is_on_this_host()
    }

    /// Makes a listening socket ask who comes.
    pub(crate) fn guard(&self, socket: &mut Socket, side: Side) -> Result<(), zmq::Error> {
        let Self::Keys(keys) = self else {
            return Ok(());
        };
        // Without a domain nobody is asked, and without this, CURVE lets everybody in whenever the
        // handler cannot be reached.
        socket.options().set_zap_domain(domain(side))?;
        socket.set_raw(ZAP_ENFORCE_DOMAIN, 1)?;
        let options = socket.options();
        match keys.mechanism {
            Mechanism::Curve => {
                options.set_curve_server(true)?;
                options.set_curve_secretkey(keys.server.bytes())
            }
            _ => options.set_plain_server(true),
        }
    }
}

/// What a client or worker connects with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: for a controller that asks for nothing.
    #[default]
    None,
    /// A key that is told.
    Plain {
        /// Whose it is.
        role: Role,
        /// The key.
        key: Key,
    },
    /// A secret key that is not told.
    Curve {
        /// The secret key; the public one follows from it.
        key: Key,
        /// The controller's public key.
        server: [u8; 32],
    },
}

impl Credentials {
    /// Reads a connection file, for a program that has its endpoint from elsewhere.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] says what is wrong with it, and what to do.
    pub fn from_connection_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (_, credentials) = read_connection_file(path.as_ref())?;
        Ok(credentials)
    }

    /// Makes a connecting socket show them.
    pub(crate) fn show(&self, socket: &Socket) -> Result<(), Error> {
        match self {
            Self::None => Ok(()),
            Self::Plain { role, key } => socket
                .options()
                .set_plain_username(Some(role.name()))
                .and_then(|()| socket.options().set_plain_password(Some(&key.to_text())))
                .map_err(|error| Error::zmq("setting up PLAIN", error)),
            Self::Curve { key, server } => {
                let options = socket.options();
                let public = key.curve_public()?;
                options
                    .set_curve_serverkey(server)
                    .and_then(|()| options.set_curve_publickey(&public))
                    .and_then(|()| options.set_curve_secretkey(key.bytes()))
                    .map_err(no_curve)
            }
        }
    }
}

/// The domain of a side, in the questions that libzmq asks.
const fn domain(side: Side) -> &'static str {
    match side {
        Side::Client => "clients",
        Side::Worker => "workers",
    }
}

fn no_curve(_: zmq::Error) -> Error {
    Error::NoCurve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_but_its_own_enters_a_side() {
        let enters = |side| Role::ALL.map(|role| role.may_enter(side));
        assert_eq!(enters(Side::Client), [true, false, true]);
        assert_eq!(enters(Side::Worker), [false, true, false]);
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name().as_bytes()), Some(role));
        }
        assert_eq!(Role::from_name(b"Client"), None);
    }

    #[test]
    fn only_what_leaves_the_host_in_the_clear_is_exposed() {
        let here: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
        let everywhere: Endpoint = "tcp://*:1".parse().unwrap();
        assert!(!Security::None.is_exposed_at(&here));
        assert!(Security::None.is_exposed_at(&everywhere));
        let keys = Security::fresh().unwrap();
        let is_clear = Mechanism::best() != Mechanism::Curve;
        assert_eq!(keys.is_exposed_at(&everywhere), is_clear);
    }
}
