//! One run: the cast comes on, warms up, suffers the plan's faults, settles, and is told to go.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use taskyard_core::{Outcome, Submit, Target};
use taskyard_zmq::{
    ClientEvent, ClientOptions, Context, ContextOptions, RemoteClient, Role, ZmqPayload,
};

use super::cast::{Cast, credentials, usage};
use super::ear::Order;
use super::journal::{Fact, Journal};
use super::plan::{Fault, Kind, Plan, Victim};
use super::proxy::Proxy;

/// A client of the director's own; its tasks are in nobody's journal.
const AUDITOR: u64 = 0;
/// How long things may take to settle. On a machine that does nothing else it is some seconds.
const SETTLE: Duration = Duration::from_secs(90);
/// How often the controller's memory is looked at.
const LOOK_AT_MEMORY: Duration = Duration::from_secs(5);
/// So much too late: others may have been held up for longer, and be taken for dead.
const HITCH: Duration = Duration::from_millis(200);
/// How often the director looks after the cast.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Director {
    cast: Cast,
    journal: Journal,
    trace: bool,
    started: Instant,
    /// What ends when: the time, a number that tells entries apart, what, and whom it holds.
    endings: BTreeMap<(Instant, u64), (Kind, usize)>,
    begun: u64,
    /// When the controller's memory was last looked at.
    looked: Instant,
}

/// Runs a plan, and leaves its journals in the folder.
pub(crate) fn direct(plan: &Plan, folder: &Path, trace: bool) -> io::Result<()> {
    let mut journal = Journal::open(&folder.join("director.journal"))?;
    journal.write(&Fact::Cast {
        seed: plan.seed,
        workers: plan.workers,
        clients: plan.clients,
    })?;
    let mut director = Director {
        cast: Cast::start(plan, folder)?,
        journal,
        trace,
        started: Instant::now(),
        endings: BTreeMap::new(),
        begun: 0,
        looked: Instant::now(),
    };
    director.are_workers_back();
    director.say("all are there");
    director.pass(Duration::from_millis(plan.warm_up_ms))?;
    director.sample(0)?;
    director.say("the faults begin");
    director.suffer(&plan.faults.clone())?;
    director.say("the faults are over");
    director.settle()?;
    director.say("all has settled");
    let processes = director.cast.end();
    director.journal.write(&Fact::Left { processes })?;
    Ok(())
}

impl Director {
    fn say(&self, what: &str) {
        if self.trace {
            println!("{:9.3} s  {what}", self.started.elapsed().as_secs_f64());
        }
    }

    fn suffer(&mut self, faults: &[Fault]) -> io::Result<()> {
        let begin = Instant::now();
        for fault in faults {
            self.pass_until(begin + Duration::from_millis(fault.at_ms))?;
            self.begin(fault)?;
        }
        self.pass_until(begin + Duration::from_millis(self.cast.plan.faults_ms))?;
        // Each to its end: a silence that is broken off early would be none.
        while let Some(&(due, _)) = self.endings.keys().next() {
            self.pass_until(due)?;
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> io::Result<()> {
        self.pass_until(Instant::now() + time)
    }

    /// Ends what is due meanwhile, and looks whether anybody died without being told to.
    fn pass_until(&mut self, end: Instant) -> io::Result<()> {
        loop {
            while let Some(entry) = self.endings.first_entry()
                && entry.key().0 <= Instant::now()
            {
                let (kind, index) = entry.remove();
                self.end(kind, index)?;
            }
            self.look_for_deaths()?;
            if self.looked.elapsed() > LOOK_AT_MEMORY {
                self.looked = Instant::now();
                self.sample(2)?;
            }
            let next = self.endings.keys().next().map_or(end, |&(due, _)| due);
            let due = next.min(end).min(Instant::now() + LOOK);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = Instant::now().saturating_duration_since(due);
            if late > HITCH {
                let late_ms = late.as_millis() as u64;
                self.journal.write(&Fact::Hitch { late_ms })?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    fn look_for_deaths(&mut self) -> io::Result<()> {
        let cast = &mut self.cast;
        let controller = std::iter::once((0, &mut cast.controller));
        let clients = cast.clients.iter_mut().map(|member| (1, member));
        let workers = cast.workers.iter_mut().map(|member| (2, member));
        for (role, member) in controller.chain(clients).chain(workers) {
            let Some(child) = member.child.as_mut().filter(|_| !member.is_busy) else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                member.child = None;
                self.journal.write(&Fact::Ended {
                    role,
                    number: member.number,
                    status: number_of(status),
                })?;
            }
        }
        Ok(())
    }

    /// Whom a fault hits: the first, from the drawn one on, that no other fault holds.
    fn find(&self, fault: &Fault) -> Option<usize> {
        let members = match fault.kind.victim() {
            Victim::Controller => std::slice::from_ref(&self.cast.controller),
            Victim::Worker => &self.cast.workers,
            Victim::Client => &self.cast.clients,
        };
        let first = (fault.draw % members.len() as u64) as usize;
        let mut order = (first..members.len()).chain(0..first);
        order.find(|&index| {
            let member = &members[index];
            // A worker that was sent on to another shard has left its proxy.
            let passes = member.proxy.as_ref().map_or(0, Proxy::connections);
            let fits = passes > 0 || !fault.kind.needs_proxy();
            fits && !member.is_busy && member.child.is_some()
        })
    }

    fn begin(&mut self, fault: &Fault) -> io::Result<()> {
        let Fault {
            kind, length_ms, ..
        } = *fault;
        if kind == Kind::Restart {
            // It happens whatever else does: a stall that holds the controller ends first.
            while self.cast.controller.is_busy {
                self.pass(LOOK)?;
            }
        }
        let Some(index) = self.find(fault) else {
            self.say(&format!("{} finds nobody", kind.name()));
            return Ok(());
        };
        let member = self.member(kind, index);
        member.is_busy = true;
        let target = member.number;
        self.journal.write(&Fact::Fault {
            kind: kind.code(),
            target,
            length_ms,
        })?;
        let end = Instant::now() + Duration::from_millis(length_ms);
        self.endings.insert((end, self.begun), (kind, index));
        self.begun += 1;
        self.say(&format!("{} of {target} for {length_ms} ms", kind.name()));
        let rest = Order::Rest(Duration::from_millis(length_ms));
        let member = self.member(kind, index);
        match kind {
            Kind::Kill | Kind::Vanish | Kind::Restart => member.kill(),
            Kind::Freeze | Kind::Blink | Kind::ClientFreeze | Kind::Stall | Kind::Hiccup => {
                member.signal(Signal::STOP);
            }
            Kind::Deaf | Kind::Slow => member.tell(rest),
            Kind::Goodbye => member.tell(Order::Go),
            Kind::Cut | Kind::ClientCut | Kind::Silence | Kind::Pause | Kind::Delay => {
                let Some(proxy) = &member.proxy else {
                    return Ok(());
                };
                match kind {
                    Kind::Cut | Kind::ClientCut => proxy.cut(),
                    Kind::Delay => proxy.delay(Duration::from_millis(5 + fault.draw % 55)),
                    _ => proxy.hold(),
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, kind: Kind, index: usize) -> io::Result<()> {
        match kind {
            Kind::Kill => self.cast.start_worker(index)?,
            Kind::Restart => self.cast.start_controller()?,
            Kind::Vanish => {
                self.cast.clients[index].incarnation += 1;
                self.cast.start_client(index)?;
            }
            Kind::Goodbye => {
                self.cast.clients[index].await_end(Instant::now() + SETTLE);
                self.cast.start_new_client(index)?;
            }
            Kind::Freeze | Kind::Blink | Kind::ClientFreeze | Kind::Stall | Kind::Hiccup => {
                self.member(kind, index).signal(Signal::CONT);
            }
            Kind::Silence | Kind::Pause | Kind::Delay => {
                if let Some(proxy) = &self.member(kind, index).proxy {
                    proxy.delay(Duration::ZERO);
                    proxy.go_on();
                }
            }
            Kind::Cut | Kind::ClientCut | Kind::Deaf | Kind::Slow => {}
        }
        let member = self.member(kind, index);
        member.is_busy = false;
        let target = member.number;
        self.journal.write(&Fact::Healed {
            kind: kind.code(),
            target,
        })?;
        Ok(())
    }

    fn member(&mut self, kind: Kind, index: usize) -> &mut super::cast::Member {
        match kind.victim() {
            Victim::Controller => &mut self.cast.controller,
            Victim::Worker => &mut self.cast.workers[index],
            Victim::Client => &mut self.cast.clients[index],
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        for client in &mut self.cast.clients {
            client.tell(Order::Finish);
        }
        let end = Instant::now() + SETTLE;
        let mut clients_quiet = false;
        while !clients_quiet && Instant::now() < end {
            self.pass(LOOK * 5)?;
            let all = 0..self.cast.clients.len();
            clients_quiet = all.into_iter().all(|index| self.is_quiet(index));
        }
        self.say("the clients are quiet");
        let workers_back = self.are_workers_back();
        self.look_for_deaths()?;
        let controller_alive = self.cast.controller.child.is_some();
        self.sample(1)?;
        self.journal.write(&Fact::Settled {
            controller_alive: controller_alive.into(),
            clients_quiet: clients_quiet.into(),
            workers_back: workers_back.into(),
        })?;
        Ok(())
    }

    /// Whether the last that a client wrote down is that it has all its outcomes.
    fn is_quiet(&self, index: usize) -> bool {
        let text = std::fs::read_to_string(self.cast.client_journal(index)).unwrap_or_default();
        let last = text.lines().last();
        last.is_some_and(|line| line.starts_with("quiet "))
    }

    /// The controller's memory and descriptors. At the end with patience: what the last fault cost
    /// may still be on its way out.
    fn sample(&mut self, end: u64) -> io::Result<()> {
        let Some(pid) = self
            .cast
            .controller
            .child
            .as_ref()
            .map(std::process::Child::id)
        else {
            return Ok(());
        };
        let mut least = (u64::MAX, u64::MAX);
        for _ in 0..if end == 1 { 40 } else { 1 } {
            let (bytes, descriptors) = usage(pid)?;
            least = (least.0.min(bytes), least.1.min(descriptors));
            if end == 1 {
                std::thread::sleep(LOOK * 2);
            }
        }
        self.journal.write(&Fact::Sample {
            end,
            rss_bytes: least.0,
            descriptors: least.1,
        })?;
        Ok(())
    }

    /// Whether a multicast reaches as many workers as there are, sooner or later.
    fn are_workers_back(&self) -> bool {
        let Ok(context) = Context::new(ContextOptions::default()) else {
            return false;
        };
        let journal = self.cast.folder.join("director");
        let Ok(credentials) = credentials(&journal, Role::Client) else {
            return false;
        };
        let endpoint = self.cast.clients_endpoint().parse();
        let endpoint = endpoint.expect("the controller's own words");
        let mut options = ClientOptions::new(endpoint).credentials(credentials);
        options.connect_timeout = SETTLE;
        let Ok(mut auditor) = RemoteClient::connect(&context, &options) else {
            return false;
        };
        let end = Instant::now() + SETTLE;
        while Instant::now() < end {
            let workers = reach_all(&mut auditor);
            if u64::from(workers) == self.cast.plan.workers {
                return true;
            }
            self.say(&format!("{workers} workers are there"));
            std::thread::sleep(LOOK * 5);
        }
        false
    }
}

/// How many workers a multicast reaches and has run by.
fn reach_all(auditor: &mut RemoteClient) -> u32 {
    let task = auditor.next_task_id();
    let payload = ZmqPayload::from_bytes(format!("{AUDITOR} {} 0 0\n", task.0).as_bytes());
    let submit = Submit::new(task, Target::All);
    if auditor.submit(submit, None, payload).is_err() {
        return 0;
    }
    let end = Instant::now() + SETTLE;
    while Instant::now() < end {
        let event = auditor.wait(SETTLE);
        if let Ok(Some(ClientEvent::Outcome {
            outcome: Outcome::Summary { completed, .. },
            ..
        })) = event
        {
            return completed;
        }
    }
    0
}

/// An exit code, or a signal as shells count it.
fn number_of(status: ExitStatus) -> u64 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.unwrap_or(255).try_into().unwrap_or(255)
}

/// Removes a folder when it is dropped, unless it is wanted.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: std::path::PathBuf,
    pub(crate) keep: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is left in the folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
