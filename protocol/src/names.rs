//! Names and labels of workers, as text: the core knows digests only.
//!
//! What a person reads of a worker (in a loss, in a list) should be its name. So each shard notes
//! whom it admits in a directory that all shards of a controller share, since the shard of a client
//! may be another than that of the worker. Nobody looks there while a task goes its usual way.
//!
//! *The race to avoid:* a place is given out again while an outcome still names its last holder. So
//! what is asked for is a place **and** an epoch, and the last holders of places are kept for a
//! while; beyond that a name is not known, and is never another's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskyard_core::{Epoch, WorkerId};

use crate::labels::{read_labels, write_labels};
use crate::wire::{NAME_MAX, WireError};

/// Holders of places before the present ones that are remembered, of all places together.
const EARLIER_MAX: usize = 1024;

/// Workers that an outcome names at most, as far as a reader can know.
const TRIED_MAX: usize = 8;

/// The names of all workers of one controller; a clone is the same directory.
///
/// ```
/// use taskyard_core::{Epoch, WorkerId};
/// use taskyard_protocol::WorkerNames;
/// let names = WorkerNames::default();
/// names.note((WorkerId(3), Epoch(17)), "gpu-7", &["gpu"]);
/// let shared = names.clone();
/// assert_eq!(shared.name((WorkerId(3), Epoch(17))).as_deref(), Some("gpu-7"));
/// assert_eq!(shared.name((WorkerId(3), Epoch(18))), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WorkerNames(Arc<Mutex<Directory>>);

/// The same directory, not one with the same names.
impl PartialEq for WorkerNames {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for WorkerNames {}

#[derive(Debug, Default)]
struct Directory {
    /// By the worker's place. Grows at most to the number of workers that the dispatcher admits.
    present: Vec<Option<Entry>>,
    /// Who had a place before, the latest last.
    earlier: VecDeque<(WorkerId, Entry)>,
}

#[derive(Clone, Debug)]
struct Entry {
    epoch: Epoch,
    name: Arc<str>,
    /// As they travel.
    labels: Arc<[u8]>,
    label_count: u8,
}

impl Directory {
    fn find(&self, (worker, epoch): (WorkerId, Epoch)) -> Option<&Entry> {
        let present = self.present.get(worker.0 as usize)?.as_ref()?;
        if present.epoch == epoch {
            return Some(present);
        }
        let mut earlier = self.earlier.iter().rev();
        let found = earlier.find(|(place, entry)| (*place, entry.epoch) == (worker, epoch));
        found.map(|(_, entry)| entry)
    }
}

impl WorkerNames {
    /// Notes who holds a place from now on; [`Sessions`](crate::Sessions) do it for those that they
    /// admit, an embedder does for the workers of its own process.
    ///
    /// # Panics
    /// The name is longer than 255 bytes, or the labels are none; see
    /// [`write_labels`](crate::write_labels).
    pub fn note(&self, (worker, epoch): (WorkerId, Epoch), name: &str, labels: &[impl AsRef<str>]) {
        assert!(name.len() <= NAME_MAX, "a name has at most 255 bytes");
        let entry = Entry {
            epoch,
            name: name.into(),
            labels: write_labels(labels).as_slice().into(),
            // At most eight.
            label_count: labels.len() as u8,
        };
        let mut guard = self.lock();
        let directory = &mut *guard;
        let index = worker.0 as usize;
        if directory.present.len() <= index {
            directory.present.resize(index + 1, None);
        }
        if let Some(before) = directory.present[index].replace(entry) {
            if directory.earlier.len() >= EARLIER_MAX {
                directory.earlier.pop_front();
            }
            directory.earlier.push_back((worker, before));
        }
    }

    /// The name of one incarnation, if it is known.
    #[must_use]
    pub fn name(&self, incarnation: (WorkerId, Epoch)) -> Option<Arc<str>> {
        let directory = self.lock();
        Some(directory.find(incarnation)?.name.clone())
    }

    /// Rows of the workers that lost or failed a task: place and name, each.
    pub(crate) fn write_tried(
        &self,
        tried: impl IntoIterator<Item = (WorkerId, Epoch)>,
    ) -> Vec<u8> {
        let directory = self.lock();
        let mut bytes = Vec::new();
        for incarnation in tried {
            bytes.extend(incarnation.0.0.to_le_bytes());
            put_text(&mut bytes, directory.find(incarnation).map(|e| &*e.name));
        }
        bytes
    }

    /// Name and labels of each of these workers.
    pub(crate) fn write_descriptions(
        &self,
        workers: impl IntoIterator<Item = (WorkerId, Epoch)>,
        bytes: &mut Vec<u8>,
    ) {
        let directory = self.lock();
        for incarnation in workers {
            let entry = directory.find(incarnation);
            put_text(bytes, entry.map(|entry| &*entry.name));
            bytes.push(entry.map_or(0, |entry| entry.label_count));
            bytes.extend(entry.iter().flat_map(|entry| entry.labels.iter()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        // Nothing here can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its length in one byte, then the text; nothing for what is not known.
fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let text = text.unwrap_or_default();
    // Names were checked when they were noted.
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text.as_bytes());
}

/// A worker that lost or failed a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedWorker {
    /// The place that it had.
    pub worker: WorkerId,
    /// Its name; `None` if the controller does not know it any more.
    pub name: Option<Box<str>>,
}

/// What a person knows a worker by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerDescription {
    /// `None` for one whose name the controller does not know: a worker of its own process.
    pub name: Option<Box<str>>,
    /// What tasks may ask for.
    pub labels: Vec<Box<str>>,
}

/// The workers that lost or failed a task, from the payload of an outcome.
///
/// # Errors
/// The controller's fault: rows that are cut, too many, or whose names are not UTF-8.
pub(crate) fn read_tried(mut bytes: &[u8]) -> Result<Vec<TriedWorker>, WireError> {
    let mut tried = Vec::new();
    while !bytes.is_empty() {
        let (worker, rest) = bytes.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
        bytes = rest;
        let worker = WorkerId(u32::from_le_bytes(*worker));
        let name = take_text(&mut bytes)?.map(Into::into);
        if tried.len() == TRIED_MAX {
            return Err(WireError::Body);
        }
        tried.push(TriedWorker { worker, name });
    }
    Ok(tried)
}

/// Descriptions of so many workers.
///
/// # Errors
/// The controller's fault: there are fewer or more, or what stands there is no name or no label.
pub(crate) fn read_descriptions(
    mut bytes: &[u8],
    count: usize,
) -> Result<Vec<WorkerDescription>, WireError> {
    let mut all = Vec::new();
    for _ in 0..count {
        let name = take_text(&mut bytes)?.map(Into::into);
        let (&labels, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
        bytes = rest;
        let before = bytes;
        for _ in 0..labels {
            take_text(&mut bytes)?;
        }
        let labels = read_labels(&before[..before.len() - bytes.len()])?;
        let labels = labels.into_iter().map(Into::into).collect();
        all.push(WorkerDescription { name, labels });
    }
    if !bytes.is_empty() {
        return Err(WireError::Body);
    }
    Ok(all)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a str>, WireError> {
    let (&length, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
    let (text, rest) = rest
        .split_at_checked(length.into())
        .ok_or(WireError::Truncated)?;
    *bytes = rest;
    let text = str::from_utf8(text).map_err(|_| WireError::Name)?;
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LABELS: &[&str] = &[];

    fn at(worker: u32, epoch: u32) -> (WorkerId, Epoch) {
        (WorkerId(worker), Epoch(epoch))
    }

    #[test]
    fn a_place_that_is_anothers_now_does_not_lend_its_name() {
        let names = WorkerNames::default();
        names.note(at(2, 1), "first", NO_LABELS);
        names.note(at(2, 2), "second", NO_LABELS);
        let rows = names.write_tried([at(2, 1), at(2, 2), at(2, 3), at(9, 1)]);
        let names: Vec<_> = read_tried(&rows)
            .unwrap()
            .into_iter()
            .map(|tried| (tried.worker.0, tried.name))
            .collect();
        let known = |name: &str| Some(Box::from(name));
        let expected = [
            (2, known("first")),
            (2, known("second")),
            (2, None),
            (9, None),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let names = WorkerNames::default();
        let last = EARLIER_MAX as u32 + 10;
        for epoch in 1..=last {
            names.note(at(epoch % 3, epoch), "w", NO_LABELS);
        }
        let directory = names.lock();
        assert_eq!(directory.present.len(), 3);
        assert_eq!(directory.earlier.len(), EARLIER_MAX);
        assert!(directory.find(at(1, 1)).is_none());
        assert!(directory.find(at(last % 3, last)).is_some());
        assert!(directory.find(at((last - 3) % 3, last - 3)).is_some());
    }

    #[test]
    fn descriptions_survive_and_each_cut_is_noticed() {
        let names = WorkerNames::default();
        names.note(at(0, 1), "gpu-7", &["gpu", "big"]);
        names.note(at(1, 2), &"n".repeat(NAME_MAX), &["l"; 8]);
        let mut bytes = Vec::new();
        names.write_descriptions([at(0, 1), at(5, 5), at(1, 2)], &mut bytes);
        let read = read_descriptions(&bytes, 3).unwrap();
        assert_eq!(read[0].name.as_deref(), Some("gpu-7"));
        assert_eq!(read[0].labels, [Box::from("gpu"), Box::from("big")]);
        assert_eq!(read[1], WorkerDescription::default());
        assert_eq!(read[2].labels.len(), 8);
        for cut in 0..bytes.len() {
            assert!(read_descriptions(&bytes[..cut], 3).is_err(), "{cut}");
        }
        assert_eq!(read_descriptions(&bytes, 2), Err(WireError::Body));
    }

    #[test]
    fn rows_that_make_no_sense_are_noticed() {
        let row = b"\x01\0\0\0\x01w";
        assert_eq!(read_tried(&row.repeat(8)).map(|all| all.len()), Ok(8));
        assert_eq!(read_tried(&row.repeat(9)), Err(WireError::Body));
        assert_eq!(read_tried(&row[..3]), Err(WireError::Truncated));
        assert_eq!(read_tried(&row[..5]), Err(WireError::Truncated));
        assert_eq!(read_tried(b"\x01\0\0\0\x01\xff"), Err(WireError::Name));
    }
}
