//! Answers to orders of queue control, as bytes: rows of fixed length.

mod statistics;

use taskyard_core::{
    Attempt, ClientId, Cursor, Epoch, Explanation, Instant, LabelKey, Phase, Priority, Target,
    TaskHandle, TaskId, TaskInfo, WorkerId, WorkerInfo, WorkerPhase,
};
use taskyard_dispatcher::{Answer, OrderRefusal, Page};

use super::{code, u32_at, u64_at};
use crate::names::{WorkerDescription, WorkerNames, read_descriptions};
use crate::wire::{Header, WireError};

/// Bytes of a row of the list of tasks, and of the list of workers.
const TASK_LEN: usize = 48;
const WORKER_LEN: usize = 32;
const EXPLANATION_LEN: usize = 16;
const DEPTH_LEN: usize = 4 * (Priority::COUNT + 1);

const HAS_CLIENT: u8 = 1;
const HAS_WORKER: u8 = 2;
const IS_PART: u8 = 4;

const NS_PER_MS: u64 = 1_000_000;

/// Writes an answer into the header of a [`Controlled`](crate::wire::Kind::Controlled), all but the
/// numbers of question and order, and returns its payload. A list of workers gets their names.
#[must_use]
pub fn write_answer(header: &mut Header, answer: &Answer, names: &WorkerNames) -> Vec<u8> {
    match answer {
        Answer::Tasks(page) => write_page(header, page, write_task),
        Answer::Workers(page) => {
            let mut bytes = write_page(header, page, write_worker);
            let workers = page.rows.iter().map(|row| (row.worker, row.epoch));
            names.write_descriptions(workers, &mut bytes);
            bytes
        }
        Answer::Depth { waiting, pooled } => {
            let counts = waiting.iter().chain([pooled]);
            counts.flat_map(|count| count.to_le_bytes()).collect()
        }
        Answer::Explained { explanation, at } => write_explanation(*explanation, *at).to_vec(),
        Answer::Statistics(statistics) => statistics::write(statistics),
        Answer::Swept(touched) => {
            header.epoch = *touched;
            Vec::new()
        }
        Answer::Refused(refusal) => {
            header.extra = refusal_to_code(*refusal);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// The inverse of [`write_answer`]; `payload` is all that the message carries.
///
/// # Errors
/// The controller's fault: the payload has another length, or a number in it means nothing here.
pub fn read_answer(header: &Header, payload: &[u8]) -> Result<Answer, WireError> {
    if header.extra != 0 {
        return Ok(Answer::Refused(refusal_from_code(header.extra)));
    }
    Ok(match header.code {
        code::LIST => Answer::Tasks(read_page(header, payload, read_task)?),
        code::WORKERS => {
            let (rows, descriptions) = split_workers(header, payload)?;
            read_descriptions(descriptions, header.epoch as usize)?;
            Answer::Workers(read_page(header, rows, read_worker)?)
        }
        code::DEPTH => {
            let bytes: &[u8; DEPTH_LEN] = payload.try_into().map_err(|_| WireError::Body)?;
            Answer::Depth {
                waiting: core::array::from_fn(|level| u32_at(bytes, 4 * level)),
                pooled: u32_at(bytes, 4 * Priority::COUNT),
            }
        }
        code::EXPLAIN => {
            let bytes: &[u8; EXPLANATION_LEN] = payload.try_into().map_err(|_| WireError::Body)?;
            Answer::Explained {
                explanation: read_explanation(bytes)?,
                at: Instant(0),
            }
        }
        code::STATISTICS => Answer::Statistics(Box::new(statistics::read(payload)?)),
        code::SWEEP => Answer::Swept(header.epoch),
        code::CANCEL | code::HOLD | code::RELEASE | code::DRAIN => Answer::Done,
        other => return Err(WireError::Code(other)),
    })
}

/// Name and labels of each worker of a list, in its order; empty for all other answers.
///
/// # Errors
/// As for [`read_answer`].
pub fn read_worker_descriptions(
    header: &Header,
    payload: &[u8],
) -> Result<Vec<WorkerDescription>, WireError> {
    if header.code != code::WORKERS || header.extra != 0 {
        return Ok(Vec::new());
    }
    let (_, descriptions) = split_workers(header, payload)?;
    read_descriptions(descriptions, header.epoch as usize)
}

/// The rows of a list of workers, and what stands behind them.
fn split_workers<'a>(
    header: &Header,
    payload: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), WireError> {
    let rows = (header.epoch as usize).checked_mul(WORKER_LEN);
    rows.and_then(|rows| payload.split_at_checked(rows))
        .ok_or(WireError::Body)
}

const fn refusal_to_code(refusal: OrderRefusal) -> u16 {
    match refusal {
        OrderRefusal::Forbidden => 1,
        OrderRefusal::Unknown => 2,
        OrderRefusal::Busy => 3,
        OrderRefusal::TooLarge => 4,
        OrderRefusal::Other(code) => code,
        // One of a later dispatcher: version 1 has no word for it.
        _ => u16::MAX,
    }
}

const fn refusal_from_code(code: u16) -> OrderRefusal {
    match code {
        1 => OrderRefusal::Forbidden,
        2 => OrderRefusal::Unknown,
        3 => OrderRefusal::Busy,
        4 => OrderRefusal::TooLarge,
        other => OrderRefusal::Other(other),
    }
}

fn write_page<T, const N: usize>(
    header: &mut Header,
    page: &Page<T>,
    write: impl Fn(&T) -> [u8; N],
) -> Vec<u8> {
    header.seq = page.next.map_or(0, Cursor::to_bits);
    header.epoch = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
    page.rows.iter().flat_map(write).collect()
}

fn read_page<T, const N: usize>(
    header: &Header,
    payload: &[u8],
    read: impl Fn(&[u8; N]) -> Result<T, WireError>,
) -> Result<Page<T>, WireError> {
    let (rows, rest) = payload.as_chunks::<N>();
    if !rest.is_empty() || rows.len() != header.epoch as usize {
        return Err(WireError::Body);
    }
    Ok(Page {
        rows: rows.iter().map(read).collect::<Result<_, _>>()?,
        next: (header.seq != 0).then_some(Cursor::from_bits(header.seq)),
    })
}

/// Bytes that are filled from the front.
struct Row<const N: usize>([u8; N], usize);

impl<const N: usize> Row<N> {
    const fn new() -> Self {
        Self([0; N], 0)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0[self.1..][..bytes.len()].copy_from_slice(bytes);
        self.1 += bytes.len();
        self
    }
}

/// Times that do not fit are as long as can be said.
fn ms_told(ms: u64) -> [u8; 4] {
    u32::try_from(ms).unwrap_or(u32::MAX).to_le_bytes()
}

fn write_task(info: &TaskInfo) -> [u8; TASK_LEN] {
    let (topic, target) = match info.target {
        Target::Any => (0, 0),
        Target::Worker(worker) => (1, worker.0.into()),
        // No task in the table has a name for a target: it is a place by then.
        Target::Named(_) => (2, 0),
        Target::All => (3, 0),
        Target::Label(label) => (4, label.0),
    };
    let flags = [
        (info.client.is_some(), HAS_CLIENT),
        (info.worker.is_some(), HAS_WORKER),
        (info.part, IS_PART),
    ];
    let flags = flags.iter().map(|(is_set, flag)| u8::from(*is_set) * flag);
    Row::new()
        .put(&info.handle.to_bits().to_le_bytes())
        .put(&info.client.map_or(0, ClientId::to_bits).to_le_bytes())
        .put(&info.task.0.to_le_bytes())
        .put(&u64::to_le_bytes(target))
        .put(&ms_told(info.age_ms))
        .put(&info.worker.map_or(0, |worker| worker.0).to_le_bytes())
        .put(&[topic, phase_code(info.phase)])
        .put(&[info.priority.level(), info.attempt.0, flags.sum()])
        .0
}

fn read_task(row: &[u8; TASK_LEN]) -> Result<TaskInfo, WireError> {
    let value = u64_at(row, 24);
    let target = match row[40] {
        0 => Target::Any,
        1 => Target::Worker(WorkerId(u32_at(row, 24))),
        3 => Target::All,
        4 => Target::Label(LabelKey(value)),
        other => return Err(WireError::Code(other)),
    };
    let flags = row[44];
    let has = |flag| flags & flag != 0;
    Ok(TaskInfo {
        handle: TaskHandle::from_bits(u64_at(row, 0)),
        client: has(HAS_CLIENT).then_some(ClientId::from_bits(u64_at(row, 8))),
        task: TaskId(u64_at(row, 16)),
        target,
        part: has(IS_PART),
        priority: Priority::new(row[42]),
        attempt: Attempt(row[43]),
        age_ms: u32_at(row, 32).into(),
        phase: find_code(&PHASES, row[41])?,
        worker: has(HAS_WORKER).then_some(WorkerId(u32_at(row, 36))),
    })
}

/// Each at the place of its number.
const PHASES: [Phase; 6] = [
    Phase::Waiting,
    Phase::Queued,
    Phase::Running,
    Phase::Stopping,
    Phase::Spread,
    Phase::Done,
];

const WORKER_PHASES: [WorkerPhase; 5] = [
    WorkerPhase::Up,
    WorkerPhase::Held,
    WorkerPhase::Draining,
    WorkerPhase::Away,
    WorkerPhase::Lost,
];

fn find_code<T: Copy>(all: &[T], code: u8) -> Result<T, WireError> {
    all.get(usize::from(code))
        .copied()
        .ok_or(WireError::Code(code))
}

const fn phase_code(phase: Phase) -> u8 {
    match phase {
        Phase::Waiting => 0,
        Phase::Queued => 1,
        Phase::Running => 2,
        Phase::Stopping => 3,
        Phase::Spread => 4,
        Phase::Done => 5,
    }
}

const fn worker_phase_code(phase: WorkerPhase) -> u8 {
    match phase {
        WorkerPhase::Up => 0,
        WorkerPhase::Held => 1,
        WorkerPhase::Draining => 2,
        WorkerPhase::Away => 3,
        WorkerPhase::Lost => 4,
    }
}

fn write_worker(info: &WorkerInfo) -> [u8; WORKER_LEN] {
    Row::new()
        .put(&info.worker.0.to_le_bytes())
        .put(&info.epoch.0.to_le_bytes())
        .put(&info.slots.to_le_bytes())
        .put(&info.prefetch.to_le_bytes())
        .put(&info.free.to_le_bytes())
        .put(&info.taken.to_le_bytes())
        .put(&info.waiting.to_le_bytes())
        .put(&ms_told(info.age_ms))
        .put(&[worker_phase_code(info.phase)])
        .0
}

fn read_worker(row: &[u8; WORKER_LEN]) -> Result<WorkerInfo, WireError> {
    Ok(WorkerInfo {
        worker: WorkerId(u32_at(row, 0)),
        epoch: Epoch(u32_at(row, 4)),
        phase: find_code(&WORKER_PHASES, row[28])?,
        slots: u16::from_le_bytes([row[8], row[9]]),
        prefetch: u16::from_le_bytes([row[10], row[11]]),
        free: u32_at(row, 12),
        taken: u32_at(row, 16),
        waiting: u32_at(row, 20),
        age_ms: u32_at(row, 24).into(),
    })
}

fn write_explanation(explanation: Explanation, at: Instant) -> [u8; EXPLANATION_LEN] {
    let left_ms = |until: Instant| until.since_ns(at) / NS_PER_MS;
    let (reason, worker, value): (u8, _, u64) = match explanation {
        Explanation::NoWorker => (1, None, 0),
        Explanation::NoWorkerWithLabel(label) => (2, None, label.0),
        Explanation::WorkersBusy => (3, None, 0),
        Explanation::WaitsForAnother => (4, None, 0),
        Explanation::WaitsForCredit(worker) => (5, Some(worker), 0),
        Explanation::WorkerHeld(worker) => (6, Some(worker), 0),
        Explanation::WorkerDraining(worker) => (7, Some(worker), 0),
        Explanation::WaitsForReturn { worker, until } => (8, Some(worker), left_ms(until)),
        Explanation::AwaitsResult { until } => (9, None, left_ms(until)),
        Explanation::Ready => (10, None, 0),
        Explanation::InPool => (11, None, 0),
        Explanation::InMailbox { worker, ahead } => (12, Some(worker), ahead.into()),
        Explanation::Withdrawing => (13, None, 0),
        Explanation::Claimed => (14, None, 0),
        Explanation::Prefetched(worker) => (15, Some(worker), 0),
        Explanation::Running { worker, for_ms } => (16, Some(worker), for_ms),
        Explanation::Stopping(worker) => (17, Some(worker), 0),
        Explanation::PartsOpen { unmade } => (18, None, unmade.into()),
        Explanation::OutcomeWaits { sent } => (19, None, sent.into()),
        // One of a later core: version 1 has no word for it.
        _ => (0, None, 0),
    };
    Row::new()
        .put(&[reason, 0, 0, 0])
        .put(&worker.map_or(0, |worker: WorkerId| worker.0).to_le_bytes())
        .put(&value.to_le_bytes())
        .0
}

fn read_explanation(bytes: &[u8; EXPLANATION_LEN]) -> Result<Explanation, WireError> {
    let worker = WorkerId(u32_at(bytes, 4));
    let value = u64_at(bytes, 8);
    let small = u32_at(bytes, 8);
    let until = Instant(value.saturating_mul(NS_PER_MS));
    Ok(match bytes[0] {
        1 => Explanation::NoWorker,
        2 => Explanation::NoWorkerWithLabel(LabelKey(value)),
        3 => Explanation::WorkersBusy,
        4 => Explanation::WaitsForAnother,
        5 => Explanation::WaitsForCredit(worker),
        6 => Explanation::WorkerHeld(worker),
        7 => Explanation::WorkerDraining(worker),
        8 => Explanation::WaitsForReturn { worker, until },
        9 => Explanation::AwaitsResult { until },
        10 => Explanation::Ready,
        11 => Explanation::InPool,
        12 => Explanation::InMailbox {
            worker,
            ahead: small,
        },
        13 => Explanation::Withdrawing,
        14 => Explanation::Claimed,
        15 => Explanation::Prefetched(worker),
        16 => Explanation::Running {
            worker,
            for_ms: value,
        },
        17 => Explanation::Stopping(worker),
        18 => Explanation::PartsOpen { unmade: small },
        19 => Explanation::OutcomeWaits { sent: value != 0 },
        other => return Err(WireError::Code(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;

    fn survives(order: u8, answer: &Answer) {
        let mut header = Header::new(Kind::Controlled);
        header.code = order;
        let names = WorkerNames::default();
        names.note((WorkerId(3), Epoch(17)), "gpu-7", &["gpu", "big"]);
        let payload = write_answer(&mut header, answer, &names);
        assert_eq!(read_answer(&header, &payload).as_ref(), Ok(answer));
        // A payload of another length is never taken for one.
        for length in 0..payload.len() {
            assert!(read_answer(&header, &payload[..length]).is_err());
        }
    }

    fn task(target: Target, phase: Phase, known: bool) -> TaskInfo {
        TaskInfo {
            handle: TaskHandle::new(77, 5),
            client: known.then_some(ClientId::from_bits(0x90001)),
            task: TaskId(u64::MAX),
            target,
            part: known,
            priority: Priority::new(6),
            attempt: Attempt(3),
            age_ms: 1234,
            phase,
            worker: known.then_some(WorkerId(9)),
        }
    }

    #[test]
    fn each_page_survives_the_wire() {
        let targets = [
            Target::Any,
            Target::Worker(WorkerId(4)),
            Target::All,
            Target::Label(LabelKey(u64::MAX / 3)),
        ];
        for next in [None, Some(Cursor::from_bits(64))] {
            let rows = targets.iter().zip(PHASES.iter().cycle());
            let rows = rows.map(|(target, phase)| task(*target, *phase, next.is_some()));
            let rows = rows.collect();
            survives(code::LIST, &Answer::Tasks(Page { rows, next }));
            for phase in PHASES {
                let rows = vec![task(Target::Any, phase, true)];
                survives(code::LIST, &Answer::Tasks(Page { rows, next }));
            }
            let rows = WORKER_PHASES.map(|phase| WorkerInfo {
                worker: WorkerId(3),
                epoch: Epoch(17),
                phase,
                slots: 4,
                prefetch: 2,
                free: 1,
                taken: 5,
                waiting: 6,
                age_ms: 7,
            });
            let rows = rows.to_vec();
            survives(code::WORKERS, &Answer::Workers(Page { rows, next }));
        }
    }

    #[test]
    fn each_explanation_survives_the_wire() {
        let worker = WorkerId(3);
        let until = Instant(5 * NS_PER_MS);
        for explanation in [
            Explanation::NoWorker,
            Explanation::NoWorkerWithLabel(LabelKey(8)),
            Explanation::WorkersBusy,
            Explanation::WaitsForAnother,
            Explanation::WaitsForCredit(worker),
            Explanation::WorkerHeld(worker),
            Explanation::WorkerDraining(worker),
            Explanation::WaitsForReturn { worker, until },
            Explanation::AwaitsResult { until },
            Explanation::Ready,
            Explanation::InPool,
            Explanation::InMailbox { worker, ahead: 3 },
            Explanation::Withdrawing,
            Explanation::Claimed,
            Explanation::Prefetched(worker),
            Explanation::Running { worker, for_ms: 9 },
            Explanation::Stopping(worker),
            Explanation::PartsOpen { unmade: 4 },
            Explanation::OutcomeWaits { sent: true },
            Explanation::OutcomeWaits { sent: false },
        ] {
            let at = Instant(0);
            survives(code::EXPLAIN, &Answer::Explained { explanation, at });
        }
    }

    #[test]
    fn counts_and_refusals_survive_the_wire() {
        let depth = Answer::Depth {
            waiting: [1, 2, 3, 4, 5, 6, 7, u32::MAX],
            pooled: 9,
        };
        survives(code::DEPTH, &depth);
        survives(code::SWEEP, &Answer::Swept(1_000_000));
        survives(code::DRAIN, &Answer::Done);
        for refusal in (1..=5).map(refusal_from_code) {
            survives(code::LIST, &Answer::Refused(refusal));
        }
    }
}
