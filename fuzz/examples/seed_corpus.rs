//! Writes the corpora anew: bytes from a seed, kept when they reach counters that none before did.
//!
//! `cargo run --release --example seed_corpus`, in the folder of this package.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use taskyard_fuzz::{scheduler_ops, sessions};
use taskyard_protocol::wire::{Head, Header, Kind, Message};

const TRIES: u64 = 40_000;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut random = Random(0x7a5c_0ffe);
    seed_operations(
        &mut random,
        &corpus.join("scheduler_ops"),
        (200, 3_000),
        |bytes| format!("{:?}", scheduler_ops::run(bytes)),
    )?;
    seed_operations(
        &mut random,
        &corpus.join("sessions"),
        (100, 1_500),
        |bytes| format!("{:?}", sessions::run(bytes)),
    )?;
    seed_frames(&mut random, &corpus.join("decode"))
}

/// Bytes that make counters reach a magnitude that none before them did.
fn seed_operations(
    random: &mut Random,
    folder: &Path,
    (least, more): (usize, usize),
    run: impl Fn(&[u8]) -> String,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut seen = BTreeSet::new();
    for number in 0..TRIES {
        let len = least + random.next() as usize % more;
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let counters = run(&bytes);
        let before = seen.len();
        seen.extend(features(&counters));
        if seen.len() > before {
            fs::write(folder.join(format!("seed-{number:05}")), bytes)?;
        }
    }
    println!("{} magnitudes of counters", seen.len());
    Ok(())
}

/// Each counter that is not zero, with its order of magnitude.
fn features(counters: &str) -> impl Iterator<Item = (String, u32)> {
    let fields = counters.split([',', '{', '}']);
    fields.filter_map(|field| {
        let (name, value) = field.split_once(": ")?;
        let value: u64 = value.trim().parse().ok()?;
        (value > 0).then(|| (name.trim().to_owned(), value.ilog2()))
    })
}

/// One well-formed frame of each kind, and cuts and flips of it that end in another way.
fn seed_frames(random: &mut Random, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut seen = BTreeSet::new();
    for kind in (0..=255).filter_map(Kind::from_byte) {
        let head = Head::new(&Header::new(kind)).name("gpu-7");
        let frame = [head.deadlines(5, 6).boot(7).as_slice(), b"payload"].concat();
        for flip in 0..200 {
            let mut frame = frame.clone();
            if flip > 0 {
                let at = random.next() as usize % frame.len();
                frame[at] ^= 1 << (random.next() % 8);
                frame.truncate(frame.len() - random.next() as usize % 8);
            }
            // By what it is, not by the numbers in it.
            let said = match Message::decode(&frame) {
                Ok(message) => format!("{kind:?} {:?}", message.header.flags),
                Err(error) => format!("{error:?}")
                    .split('(')
                    .next()
                    .unwrap_or("")
                    .to_owned(),
            };
            if seen.insert(said) {
                fs::write(folder.join(format!("seed-{:03}", seen.len())), frame)?;
            }
        }
    }
    Ok(())
}

/// SplitMix64: the same bytes in every version of everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
