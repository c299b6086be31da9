//! Who may come in, and where: what the connection files of an earlier start say, and what is made
//! anew.

use std::path::Path;

use taskyard_zmq::{ConnectionDir, Endpoint, Key, Mechanism, Published, Security};

use crate::error::Error;
use crate::options::Options;

/// The keys of a controller, and the folder that they are published in.
#[derive(Debug)]
pub(crate) struct Access {
    dir: ConnectionDir,
    last: Option<Published>,
    security: Security,
    ticket_key: Key,
}

impl Access {
    /// Opens the folder, and takes its keys, or makes new ones.
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let dir = ConnectionDir::open(&options.connection_dir)?;
        let last = dir.last()?;
        let security = if options.no_auth {
            Security::None
        } else {
            keep(last.as_ref(), options.fresh_keys)?
        };
        let ticket_key = match &last {
            Some(last) if !options.fresh_keys => last.ticket_key.clone(),
            _ => Key::fresh()?,
        };
        Ok(Self {
            dir,
            last,
            security,
            ticket_key,
        })
    }

    /// Whom to let in.
    pub(crate) const fn security(&self) -> &Security {
        &self.security
    }

    /// The key of what peers are given to show after a restart.
    pub(crate) const fn ticket_key(&self) -> &Key {
        &self.ticket_key
    }

    /// The folder of the files.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where to listen for clients: peers of an earlier start look there again.
    pub(crate) fn clients(&self, asked: &Endpoint) -> Result<Place, Error> {
        let last = self.last.as_ref().map(|last| &last.clients);
        self.place(asked, last, "clients")
    }

    /// Where to listen for workers.
    pub(crate) fn workers(&self, asked: &Endpoint) -> Result<Place, Error> {
        let last = self.last.as_ref().map(|last| &last.workers);
        self.place(asked, last, "workers")
    }

    fn place(&self, asked: &Endpoint, last: Option<&Endpoint>, side: &str) -> Result<Place, Error> {
        // Beside the files: as private as they are, and the same each time.
        if asked.as_str() == "ipc://*" {
            let path = self.dir.path().join(format!("{side}.sock"));
            return Ok(Place::only(format!("ipc://{}", path.display()).parse()?));
        }
        Ok(Place {
            asked: asked.clone(),
            last: last.and_then(|last| asked.as_last_time(last)),
        })
    }

    /// Tells the peers.
    pub(crate) fn publish(&self, clients: &Endpoint, workers: &Endpoint) -> Result<(), Error> {
        self.dir.publish(&Published {
            security: self.security.clone(),
            ticket_key: self.ticket_key.clone(),
            clients: clients.clone(),
            workers: workers.clone(),
        })?;
        Ok(())
    }
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    asked: Endpoint,
    /// What the same wildcard became the last time.
    last: Option<Endpoint>,
}

impl Place {
    fn only(asked: Endpoint) -> Self {
        Self { asked, last: None }
    }

    /// The same as the last time, if that is left open.
    pub(crate) fn preferred(&self) -> &Endpoint {
        self.last.as_ref().unwrap_or(&self.asked)
    }

    /// Gives the last time's up, if it is this that is taken; false if there is no other.
    pub(crate) fn give_up(&mut self, taken: &Endpoint) -> bool {
        self.last.take_if(|last| last == taken).is_some()
    }
}

/// The keys of the last time, unless there are none or they must not be used again.
fn keep(last: Option<&Published>, fresh: bool) -> Result<Security, Error> {
    let Some(Published { security, .. }) = last else {
        return Ok(Security::fresh()?);
    };
    if fresh {
        tracing::info!("new keys: all peers need their files anew");
        return Ok(Security::fresh()?);
    }
    let (then, now) = (security.mechanism(), Mechanism::best());
    if then != now {
        // PLAIN has shown its keys to whoever listened.
        tracing::warn!(
            ?then,
            ?now,
            "the mechanism has changed, so all keys are new"
        );
        return Ok(Security::fresh()?);
    }
    Ok(security.clone())
}
