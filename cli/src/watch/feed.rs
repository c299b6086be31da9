//! The thread that asks the controller, so that the screen never waits for it.

use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use taskyard_zmq::{RemoteClient, Role};

use super::Sample;
use crate::connect::LinkArgs;
use crate::failure::Failure;

/// How long to leave a feed that is being ended.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the thread has to say.
#[derive(Debug)]
pub(super) enum News {
    /// How things are, at the controller of this endpoint.
    Sample(String, Box<Sample>),
    /// Why that is not known.
    Silence(String),
}

/// Samples that arrive by themselves.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) news: Receiver<News>,
    /// Dropped, it ends the thread.
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Asks every so often, from now on.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(link: LinkArgs, every: Duration) -> Result<Self, Failure> {
        // A screen that lags behind misses a sample, and gets the next.
        let (sender, news) = sync_channel(4);
        let (stop, stopped) = channel();
        let named = thread::Builder::new().name("ty-feed".into());
        let thread = named
            .spawn(move || feed(&link, every, &sender, &stopped))
            .map_err(Failure::system("starting a thread"))?;
        Ok(Self {
            news,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop = None;
        let due = Instant::now() + PATIENCE;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // It says goodbye to the controller, unless it waits for an answer that does not come.
        while !thread.is_finished() && Instant::now() < due {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn feed(link: &LinkArgs, every: Duration, news: &SyncSender<News>, stopped: &Receiver<()>) {
    let mut at: Option<(RemoteClient, String)> = None;
    loop {
        let began = Instant::now();
        let said = match sample(link, &mut at) {
            Ok((endpoint, sample)) => News::Sample(endpoint, Box::new(sample)),
            Err(failure) => {
                // Its file may be another one by now, after a start with new keys or ports.
                at = None;
                News::Silence(failure.to_string())
            }
        };
        if let Err(TrySendError::Disconnected(_)) = news.try_send(said) {
            return;
        }
        match stopped.recv_timeout(every.saturating_sub(began.elapsed())) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

fn sample(
    link: &LinkArgs,
    at: &mut Option<(RemoteClient, String)>,
) -> Result<(String, Sample), Failure> {
    if at.is_none() {
        *at = Some(link.client_at(&[Role::Operator])?);
    }
    let (client, endpoint) = at.as_mut().expect("it is connected by now");
    let sample = Sample::take(client, link.patience())?;
    Ok((endpoint.clone(), sample))
}
