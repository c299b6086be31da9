//! The processes: how each is started, signalled and ended, and that none outlives the run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use taskyard_zmq::{ConnectionDir, Credentials, Role};

use super::ear::Order;
use super::plan::{HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, Plan};
use super::proxy::Proxy;
use crate::cluster;
use crate::sim::Rng;

/// The first argument of a process of the cast; what it plays is the second.
pub(crate) const PLAY: &str = "play";
/// The folder of connection files, beside the journals.
const KEYS: &str = "keys";
/// Long enough for a loaded machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Places for tasks: few, so that the controller has touched them all when it has warmed up.
const TASKS_MAX: u64 = 8_192;
/// Of each client, beside one multicast: a client that does not read gets there.
const QUOTA: u64 = 400;

/// A process of the cast.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: u64,
    /// How many processes it had before this one.
    pub(crate) incarnation: u64,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) child: Option<Child>,
    /// A fault holds it.
    pub(crate) is_busy: bool,
}

impl Member {
    fn new(number: u64, proxy: Option<Proxy>) -> Self {
        Self {
            number,
            incarnation: 0,
            proxy,
            child: None,
            is_busy: false,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().map(Child::id);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) {
            // A child that has ended and was not waited for takes signals too.
            kill_process(pid, signal).expect("a child can be signalled");
        }
    }

    /// Tells it something. One that has ended does not listen, which shows when it is waited for.
    pub(crate) fn tell(&mut self, order: Order) {
        let stdin = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        if let Some(stdin) = stdin {
            let _ = stdin.write_all(order.to_line().as_bytes());
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end, and ends it if it takes too long. False if it did.
    pub(crate) fn await_end(&mut self, end: Instant) -> bool {
        while let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(Some(_))) {
                self.child = None;
            } else if Instant::now() >= end {
                self.kill();
                return false;
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        true
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) plan: Plan,
    pub(crate) folder: PathBuf,
    pub(crate) controller: Member,
    pub(crate) workers: Vec<Member>,
    pub(crate) clients: Vec<Member>,
    clients_endpoint: String,
    workers_endpoint: String,
    /// What the members have in common beside the plan: slots, tasks in advance.
    rng: Rng,
    next_client: u64,
}

impl Cast {
    /// Starts all of them.
    pub(crate) fn start(plan: &Plan, folder: &Path) -> io::Result<Self> {
        let anywhere = |ipc: bool, name: &str| {
            if ipc {
                format!("ipc://{}", folder.join(name).display())
            } else {
                "tcp://127.0.0.1:*".into()
            }
        };
        let mut cast = Self {
            plan: plan.clone(),
            folder: folder.to_owned(),
            controller: Member::new(0, None),
            workers: Vec::new(),
            clients: Vec::new(),
            clients_endpoint: anywhere(plan.ipc[0], "clients"),
            workers_endpoint: anywhere(plan.ipc[1], "workers"),
            rng: Rng::new(plan.seed ^ 0xca57),
            next_client: 1,
        };
        cast.start_controller()?;
        for number in 0..plan.workers {
            let proxy = cast.draw_proxy(&cast.workers_endpoint.clone());
            cast.workers.push(Member::new(number, proxy));
            cast.start_worker(number as usize)?;
        }
        for index in 0..plan.clients as usize {
            let proxy = cast.draw_proxy(&cast.clients_endpoint.clone());
            cast.clients.push(Member::new(0, proxy));
            cast.start_new_client(index)?;
        }
        Ok(cast)
    }

    fn draw_proxy(&mut self, target: &str) -> Option<Proxy> {
        self.rng
            .chance(self.plan.proxied)
            .then(|| Proxy::to(target))
    }

    /// Where a client of the director's own connects.
    pub(crate) fn clients_endpoint(&self) -> &str {
        &self.clients_endpoint
    }

    /// The one place where controllers are started: again on the endpoints that the first one took.
    pub(crate) fn start_controller(&mut self) -> io::Result<()> {
        let mut command = player("controller");
        command.arg(cluster::taskyard().get_program());
        command.arg("controller");
        command.args(["--clients", &self.clients_endpoint]);
        command.args(["--workers", &self.workers_endpoint]);
        command.arg("--connection-dir").arg(self.folder.join(KEYS));
        command.args(["--mode", if self.plan.pinned { "pinned" } else { "hosted" }]);
        // A core that spins is one that two hundred processes do not have.
        command.args(["--idle", "park"]);
        let quota = QUOTA + self.plan.workers;
        let numbers = [
            ("--shards", self.plan.shards),
            ("--heartbeat-interval-ms", HEARTBEAT_INTERVAL_MS),
            ("--heartbeat-timeout-ms", HEARTBEAT_TIMEOUT_MS),
            // Few places: so the first rounds touch all the tables, and what comes after is a leak.
            ("--workers-max", 2 * self.plan.workers + 16),
            ("--tasks-max", TASKS_MAX),
            ("--quota", quota),
        ];
        for (option, number) in numbers {
            command.args([option, &number.to_string()]);
        }
        command.env("RUST_LOG", "warn");
        // An allocator that keeps what was freed would look like a leak: glibc's gives back large
        // pieces at once if it is told so, and the others do not know these.
        command.env("MALLOC_MMAP_THRESHOLD_", "32768");
        command.env("MALLOC_TRIM_THRESHOLD_", "131072");
        command.env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(self.log("controller.log")?);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        self.controller.child = Some(child);
        let mut lines = stdout
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines);
        let mut endpoint = |key: &str| -> io::Result<String> {
            let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
            let said = line.strip_prefix(key).map(|rest| rest.trim().to_owned());
            said.ok_or_else(|| {
                let log = self.folder.join("controller.log");
                io::Error::other(format!("no controller: see {}", log.display()))
            })
        };
        (self.clients_endpoint, self.workers_endpoint) =
            (endpoint("clients ")?, endpoint("workers ")?);
        Ok(())
    }

    /// Starts a worker's process: its first, or after the last has ended.
    pub(crate) fn start_worker(&mut self, index: usize) -> io::Result<()> {
        let mut draws = Rng::new(self.plan.seed ^ index as u64);
        let (slots, prefetch) = (draws.between(1, 3), draws.below(3));
        let member = &mut self.workers[index];
        let endpoint = member.proxy.as_ref().map(Proxy::endpoint);
        let endpoint = endpoint.as_ref().unwrap_or(&self.workers_endpoint);
        let mut command = player("worker");
        command
            .arg(endpoint)
            .arg(journal(&self.folder, "worker", member.number));
        command.args([member.number, slots, prefetch].map(|number| number.to_string()));
        member.child = Some(spawn(command, &self.folder)?);
        Ok(())
    }

    /// Starts a client's process: its first, or the next with the same key.
    pub(crate) fn start_client(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.clients[index];
        let endpoint = member.proxy.as_ref().map(Proxy::endpoint);
        let endpoint = endpoint.as_ref().unwrap_or(&self.clients_endpoint);
        let mut command = player("client");
        command
            .arg(endpoint)
            .arg(journal(&self.folder, "client", member.number));
        let plan = &self.plan;
        let numbers = [
            member.number,
            member.incarnation,
            plan.seed,
            plan.workers,
            plan.per_second,
        ];
        command.args(numbers.map(|number| number.to_string()));
        member.child = Some(spawn(command, &self.folder)?);
        Ok(())
    }

    /// Starts somebody new in a client's place.
    pub(crate) fn start_new_client(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.clients[index];
        (member.number, member.incarnation) = (self.next_client, 0);
        self.next_client += 1;
        self.start_client(index)
    }

    /// The journal of a client.
    pub(crate) fn client_journal(&self, index: usize) -> PathBuf {
        journal(&self.folder, "client", self.clients[index].number)
    }

    /// Tells all to go, and says how many processes did not.
    pub(crate) fn end(&mut self) -> u64 {
        let mut left = 0;
        let mut peers: Vec<_> = self.clients.iter_mut().chain(&mut self.workers).collect();
        for member in &mut peers {
            member.tell(Order::Go);
        }
        let end = Instant::now() + PATIENCE;
        for member in peers {
            left += u64::from(!member.await_end(end));
        }
        self.controller.signal(Signal::TERM);
        left += u64::from(!self.controller.await_end(Instant::now() + PATIENCE));
        left + named(&self.folder)
    }

    fn log(&self, name: &str) -> io::Result<File> {
        log(&self.folder, name)
    }
}

/// This program in another role: this very file, also if it is built anew meanwhile.
fn player(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([PLAY, role]);
    command
}

fn spawn(mut command: Command, folder: &Path) -> io::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.env("RUST_LOG", "warn");
    command.stderr(log(folder, "cast.log")?);
    command.spawn()
}

fn log(folder: &Path, name: &str) -> io::Result<File> {
    let path = folder.join(name);
    OpenOptions::new().create(true).append(true).open(path)
}

/// What a member comes in with; its journal lies beside the keys.
pub(crate) fn credentials(journal: &Path, role: Role) -> Result<Credentials, taskyard_zmq::Error> {
    let keys = journal.with_file_name(KEYS);
    Credentials::from_connection_file(ConnectionDir::file_of(&keys, role))
}

fn journal(folder: &Path, role: &str, number: u64) -> PathBuf {
    folder.join(format!("{role}-{number}.journal"))
}

/// Processes that have the folder among their arguments, which all of the cast have.
fn named(folder: &Path) -> u64 {
    let folder = folder.as_os_str().as_encoded_bytes();
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let is_ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        name != own.as_str()
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                let has = |text: &[u8]| line.windows(text.len()).any(|part| part == text);
                // Not whoever has asked for this run.
                has(folder) && (has(PLAY.as_bytes()) || has(b"--connection-dir"))
            })
    };
    entries.flatten().filter(is_ours).count() as u64
}

/// What a process uses: resident bytes, and descriptors.
pub(crate) fn usage(pid: u32) -> io::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok((kib.unwrap_or(0) * 1024, descriptors as u64))
}
