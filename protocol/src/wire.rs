//! The wire format, version 1: a fixed header of 32 bytes, a few sections, an inline payload.
//!
//! ```text
//!  first frame                                                             following frames
//! ┌────────────┬─────────────────────────────────────────────────┬──────┐ ┌─────────────────┐
//! │ header, 32 │ name? │ deadlines? │ options? │ boot? │ origin? │ body │ │ payload, 0..=64 │
//! └────────────┴─────────────────────────────────────────────────┴──────┘ └─────────────────┘
//! ```
//! All integers are little-endian. `docs/PROTOCOL.md` is the contract for programs in other
//! languages; this file is its Rust form. Decoding borrows from the frame and copies nothing;
//! encoding fills an array on the stack. Neither allocates, and no input makes either panic.

use core::fmt;
use core::str;

use arrayvec::ArrayVec;
use taskyard_core::Priority;

/// The version that this crate speaks.
pub const VERSION: u8 = 1;

/// Bytes of the fixed part of every first frame.
pub const HEADER_LEN: usize = 32;

/// The largest number of payload frames of one message.
pub const FRAMES_MAX: usize = 64;

/// The longest name of a worker, in bytes.
pub const NAME_MAX: usize = 255;

/// The longest body that a [`Head`] itself can carry: an endpoint, a key.
pub const BODY_MAX: usize = NAME_MAX + 1;

const DEADLINES_LEN: usize = 8;
const OPTIONS_LEN: usize = 8;
const BOOT_LEN: usize = 8;
const ORIGIN_LEN: usize = 24;

/// Room for the header and each section at its largest.
const HEAD_MAX: usize =
    HEADER_LEN + (1 + NAME_MAX) + DEADLINES_LEN + OPTIONS_LEN + BOOT_LEN + ORIGIN_LEN;

// libzmq stores frames of up to 33 bytes in place: a bare header costs no allocation there.
const _: () = assert!(HEADER_LEN <= 33);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Client to controller: who it is.
    ClientHello = 0x01,
    /// Client to controller: a task.
    Submit = 0x02,
    /// Client to controller: a task is no longer wanted.
    Cancel = 0x03,
    /// Client to controller: it leaves for good.
    Goodbye = 0x04,
    /// Client to controller: is this worker there?
    IsAlive = 0x05,
    /// Client to controller: a question or an order of queue control.
    Control = 0x06,
    /// Controller to client: answers a hello.
    Welcome = 0x11,
    /// Controller to client: what became of a task.
    Outcome = 0x12,
    /// Controller to client: a task runs again, or has printed something.
    Notice = 0x13,
    /// Controller to client: answers the question whether a worker is there.
    Alive = 0x14,
    /// Controller to client: answers an order.
    Controlled = 0x15,
    /// Worker to controller: asks to be admitted.
    Register = 0x21,
    /// Worker to controller: how an attempt of this registration ended.
    Result = 0x22,
    /// Worker to controller: how an attempt of an earlier registration ended.
    HandIn = 0x23,
    /// Worker to controller: it leaves for good.
    Leave = 0x24,
    /// Worker to controller: what a task printed.
    Output = 0x25,
    /// Worker to controller: a prefetched task has started.
    Started = 0x26,
    /// Worker to controller: a prefetched task is given back, as it was asked for.
    Revoked = 0x27,
    /// Controller to worker: answers a registration.
    Registered = 0x31,
    /// Controller to worker: run this.
    Task = 0x32,
    /// Controller to worker: stop this.
    Abort = 0x33,
    /// Controller to worker: finish what runs, then leave.
    Drain = 0x34,
    /// Controller to worker: register at another endpoint.
    Redirect = 0x35,
    /// Controller to worker: its registration is over.
    Evict = 0x36,
    /// Controller to worker: give a prefetched task back, unless it has started.
    Revoke = 0x37,
    /// Either way: everything up to `ack` has arrived.
    Ack = 0x41,
    /// Controller to peer: a message was not accepted.
    Rejected = 0x42,
    /// Controller to peer: say hello, or register.
    WhoAreYou = 0x43,
    /// Either way: are you there?
    Ping = 0x44,
    /// Either way: answers a ping.
    Pong = 0x45,
}

impl Kind {
    /// The kind with this number, if version 1 knows it.
    ///
    /// ```
    /// use taskyard_protocol::wire::Kind;
    /// assert_eq!(Kind::from_byte(0x32), Some(Kind::Task));
    /// assert_eq!(Kind::from_byte(0xff), None);
    /// ```
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::ClientHello,
            0x02 => Self::Submit,
            0x03 => Self::Cancel,
            0x04 => Self::Goodbye,
            0x05 => Self::IsAlive,
            0x06 => Self::Control,
            0x11 => Self::Welcome,
            0x12 => Self::Outcome,
            0x13 => Self::Notice,
            0x14 => Self::Alive,
            0x15 => Self::Controlled,
            0x21 => Self::Register,
            0x22 => Self::Result,
            0x23 => Self::HandIn,
            0x24 => Self::Leave,
            0x25 => Self::Output,
            0x26 => Self::Started,
            0x27 => Self::Revoked,
            0x31 => Self::Registered,
            0x32 => Self::Task,
            0x33 => Self::Abort,
            0x34 => Self::Drain,
            0x35 => Self::Redirect,
            0x36 => Self::Evict,
            0x37 => Self::Revoke,
            0x41 => Self::Ack,
            0x42 => Self::Rejected,
            0x43 => Self::WhoAreYou,
            0x44 => Self::Ping,
            0x45 => Self::Pong,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// Whether it may say how urgent a task is, and what is to be done when it fails.
    #[must_use]
    pub const fn may_have_options(self) -> bool {
        matches!(self, Self::Submit)
    }

    /// Whether it is about an attempt, and may say where its task comes from.
    #[must_use]
    pub const fn may_have_origin(self) -> bool {
        matches!(
            self,
            Self::Task | Self::Result | Self::HandIn | Self::Started
        )
    }
}

/// The flag bits of a header: which sections follow, and a few facts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// A name follows: its length in one byte, then 1 to 255 bytes of UTF-8.
    pub const NAMED: Self = Self(0x01);
    /// Two deadlines follow: `start_within_ms`, `finish_within_ms`.
    pub const DEADLINES: Self = Self(0x02);
    /// This submit was sent to another record of this client before (rule R11).
    pub const RESENT: Self = Self(0x04);
    /// This outcome is one of several of a multicast.
    pub const PART: Self = Self(0x08);
    /// In a submit: [`SubmitOptions`] follow.
    pub const OPTIONS: Self = Self(0x08);
    /// In a message about an attempt: where its task comes from follows.
    pub const ORIGIN: Self = Self(0x08);
    /// `worker` and `epoch` name a worker.
    pub const HAS_WORKER: Self = Self(0x10);
    /// The controller's boot id follows.
    pub const BOOT: Self = Self(0x20);
    /// In a welcome: the record was there already.
    pub const RESUMED: Self = Self(0x40);
    /// In a registration: this worker has been redirected here, so it stays here.
    pub const NO_REDIRECT: Self = Self(0x40);
    /// In a task: it is sent ahead of a slot.
    pub const AHEAD: Self = Self(0x40);
    /// There is no payload, as against an empty one.
    pub const NO_PAYLOAD: Self = Self(0x80);

    /// Any byte is a set of flags.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is set here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#04x})", self.0)
    }
}

/// The fixed part of a first frame, all but its version.
///
/// ```
/// use taskyard_protocol::wire::{Header, Kind};
/// let mut header = Header::new(Kind::Ping);
/// header.id = 7;
/// let bytes = header.encode();
/// assert_eq!(Header::decode(&bytes), Ok((header, &[][..])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What this message is.
    pub kind: Kind,
    /// Which sections follow, and a few facts.
    pub flags: Flags,
    /// How many payload frames follow; 0: the payload is inline.
    pub frames: u8,
    /// The number of this message among the sequenced ones of its session and direction, from 1; 0:
    /// it is not sequenced.
    pub seq: u32,
    /// The highest number received in the other direction.
    pub ack: u32,
    /// A worker's place in the table.
    pub worker: u32,
    /// A `TaskId` towards clients, a `TaskHandle` towards workers.
    pub id: u64,
    /// A worker's incarnation.
    pub epoch: u32,
    /// Which execution, or how many.
    pub attempt: u8,
    /// Depends on the kind.
    pub code: u8,
    /// Depends on the kind.
    pub extra: u16,
}

impl Header {
    /// A header of this kind with every other field zero.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            flags: Flags::NONE,
            frames: 0,
            seq: 0,
            ack: 0,
            worker: 0,
            id: 0,
            epoch: 0,
            attempt: 0,
            code: 0,
            extra: 0,
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1] = self.kind.to_byte();
        bytes[2] = self.flags.to_byte();
        bytes[3] = self.frames;
        bytes[4..8].copy_from_slice(&self.seq.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.ack.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.worker.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[28] = self.attempt;
        bytes[29] = self.code;
        bytes[30..32].copy_from_slice(&self.extra.to_le_bytes());
        bytes
    }

    /// Reads the fixed part of a first frame; the rest of the frame is handed back.
    ///
    /// # Errors
    /// The frame is too short, or of another version or kind: the sender is at fault.
    pub fn decode(frame: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let Some(version) = frame.first() else {
            return Err(WireError::Truncated);
        };
        if *version != VERSION {
            return Err(WireError::Version(*version));
        }
        let (bytes, rest) = frame
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(WireError::Truncated)?;
        let kind = Kind::from_byte(bytes[1]).ok_or(WireError::Kind(bytes[1]))?;
        let header = Self {
            kind,
            flags: Flags::from_byte(bytes[2]),
            frames: bytes[3],
            seq: u32_at(bytes, 4),
            ack: u32_at(bytes, 8),
            worker: u32_at(bytes, 12),
            id: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
            epoch: u32_at(bytes, 24),
            attempt: bytes[28],
            code: bytes[29],
            extra: u16::from_le_bytes([bytes[30], bytes[31]]),
        };
        Ok((header, rest))
    }

    /// Writes this header over the one at the start of `frame`, which keeps its sections and
    /// payload: what a program that only forwards needs.
    ///
    /// # Errors
    /// The frame is shorter than a header; it is unchanged.
    pub fn patch(&self, frame: &mut [u8]) -> Result<(), WireError> {
        let target = frame
            .first_chunk_mut::<HEADER_LEN>()
            .ok_or(WireError::Truncated)?;
        *target = self.encode();
        Ok(())
    }
}

const fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Why a first frame cannot be understood; always its sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Bytes stand inline although the payload is said to be elsewhere, or nowhere.
    #[error("bytes beside a payload that is said to be elsewhere or nowhere")]
    Body,
    /// The kind has no such code.
    #[error("unknown code {0}")]
    Code(u8),
    /// More payload frames than a message may have.
    #[error("{0} payload frames announced, at most 64 are allowed")]
    Frames(u8),
    /// Version 1 has no such kind.
    #[error("unknown kind {0:#04x}")]
    Kind(u8),
    /// A worker's labels are too many, or one is empty, too long or not UTF-8.
    #[error("labels that are too many, empty, longer than 63 bytes or not UTF-8")]
    Labels,
    /// The name is empty or not UTF-8.
    #[error("a name that is empty or not UTF-8")]
    Name,
    /// A priority beyond 7, or bytes among the options that mean nothing yet.
    #[error("options with a priority beyond 7, or with bytes that have no meaning")]
    Options,
    /// The frame ends before what it announces.
    #[error("the frame ends too early")]
    Truncated,
    /// Not version 1.
    #[error("unknown version {0}")]
    Version(u8),
}

/// What a submit says of its task beyond where it may run and by when.
///
/// ```
/// use taskyard_core::Priority;
/// use taskyard_protocol::wire::{Head, Header, Kind, Message, SubmitOptions};
/// let options = SubmitOptions { priority: Priority::MAX, retries: 2, ..SubmitOptions::default() };
/// let head = Head::new(&Header::new(Kind::Submit)).options(&options);
/// assert_eq!(Message::decode(head.as_slice()).unwrap().options, Some(options));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubmitOptions {
    /// How urgent it is.
    pub priority: Priority,
    /// How often it runs again when it fails.
    pub retries: u8,
    /// How long a task for one worker that is lost waits for the return of its name; 0: not at all.
    pub hold_ms: u32,
}

/// Where a task comes from, with the controller's mark that this worker process was given it: what
/// a worker brings back to a controller that was started anew (rule R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginTicket {
    /// The low half of the client's key.
    pub client: u64,
    /// The client's number for the task.
    pub task: u64,
    /// Made by the controller; nobody else can.
    pub ticket: u64,
}

/// A first frame, taken apart; borrows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The fixed part.
    pub header: Header,
    /// The name, if there is one.
    pub name: Option<&'a str>,
    /// `start_within_ms` and `finish_within_ms`, if given.
    pub deadlines: Option<(u32, u32)>,
    /// The options of a submit, if given.
    pub options: Option<SubmitOptions>,
    /// The controller's boot id, if given.
    pub boot: Option<u64>,
    /// Where the task comes from, if given.
    pub origin: Option<OriginTicket>,
    /// What follows: the inline payload, or what else the kind carries.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes a first frame apart.
    ///
    /// # Errors
    /// See [`WireError`]: the sender is at fault.
    ///
    /// ```
    /// use taskyard_protocol::wire::{Head, Header, Kind, Message};
    /// let head = Head::new(&Header::new(Kind::Register)).name("gpu-7");
    /// assert_eq!(Message::decode(head.as_slice()).unwrap().name, Some("gpu-7"));
    /// ```
    pub fn decode(frame: &'a [u8]) -> Result<Self, WireError> {
        let (header, mut rest) = Header::decode(frame)?;
        if usize::from(header.frames) > FRAMES_MAX {
            return Err(WireError::Frames(header.frames));
        }
        let name = if header.flags.has(Flags::NAMED) {
            Some(take_name(&mut rest)?)
        } else {
            None
        };
        let deadlines = if header.flags.has(Flags::DEADLINES) {
            Some((take_u32(&mut rest)?, take_u32(&mut rest)?))
        } else {
            None
        };
        let options = if header.kind.may_have_options() && header.flags.has(Flags::OPTIONS) {
            Some(take_options(&mut rest)?)
        } else {
            None
        };
        let boot = if header.flags.has(Flags::BOOT) {
            Some(take_u64(&mut rest)?)
        } else {
            None
        };
        let origin = if header.kind.may_have_origin() && header.flags.has(Flags::ORIGIN) {
            Some(OriginTicket {
                client: take_u64(&mut rest)?,
                task: take_u64(&mut rest)?,
                ticket: take_u64(&mut rest)?,
            })
        } else {
            None
        };
        let elsewhere = header.frames > 0;
        let nowhere = header.flags.has(Flags::NO_PAYLOAD);
        if (elsewhere && nowhere) || ((elsewhere || nowhere) && !rest.is_empty()) {
            return Err(WireError::Body);
        }
        Ok(Self {
            header,
            name,
            deadlines,
            options,
            boot,
            origin,
            body: rest,
        })
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, WireError> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, WireError> {
    let (bytes, after) = rest.split_first_chunk::<8>().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(u64::from_le_bytes(*bytes))
}

fn take_options(rest: &mut &[u8]) -> Result<SubmitOptions, WireError> {
    let (first, hold_ms) = (take_u32(rest)?, take_u32(rest)?);
    let [priority, retries, reserved @ ..] = first.to_le_bytes();
    if priority > Priority::MAX.level() || reserved != [0, 0] {
        return Err(WireError::Options);
    }
    Ok(SubmitOptions {
        priority: Priority::new(priority),
        retries,
        hold_ms,
    })
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Result<&'a str, WireError> {
    let (&length, after) = rest.split_first().ok_or(WireError::Truncated)?;
    let (bytes, after) = after
        .split_at_checked(length.into())
        .ok_or(WireError::Truncated)?;
    *rest = after;
    match str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err(WireError::Name),
    }
}

/// A first frame without its payload, built in place.
///
/// Sections are added in the order of the wire: name, deadlines, options, boot, origin, body.
///
/// ```
/// use taskyard_protocol::wire::{Head, Header, Kind, Message};
/// let head = Head::new(&Header::new(Kind::Submit)).name("w1").deadlines(10, 0);
/// assert_eq!(head.as_slice().len(), 32 + 3 + 8);
/// assert_eq!(Message::decode(head.as_slice()).unwrap().deadlines, Some((10, 0)));
/// ```
#[derive(Clone)]
pub struct Head(ArrayVec<u8, HEAD_MAX>);

impl Head {
    /// The header alone.
    ///
    /// # Panics
    /// The header's flags announce a section: the sections' own functions set those.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        assert!(
            header.flags.to_byte() & SECTIONS == 0,
            "sections set their own flags"
        );
        let mut bytes = ArrayVec::new();
        extend(&mut bytes, &header.encode());
        Self(bytes)
    }

    /// Adds the section of the name.
    ///
    /// # Panics
    /// The name is empty or longer than [`NAME_MAX`], or a section stands already: a mistake of the
    /// program, which has to check names where they enter.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        assert!(!name.is_empty(), "a name has at least one byte");
        let length = u8::try_from(name.len()).expect("a name has at most 255 bytes");
        self.open_section(Flags::NAMED, Flags::NONE);
        extend(&mut self.0, &[length]);
        extend(&mut self.0, name.as_bytes());
        self
    }

    /// Adds the section of the deadlines, in milliseconds; 0 means none.
    ///
    /// # Panics
    /// This or a later section stands already.
    #[must_use]
    pub fn deadlines(mut self, start_within_ms: u32, finish_within_ms: u32) -> Self {
        self.open_section(Flags::DEADLINES, Flags::NAMED);
        extend(&mut self.0, &start_within_ms.to_le_bytes());
        extend(&mut self.0, &finish_within_ms.to_le_bytes());
        self
    }

    /// Adds the section of the options.
    ///
    /// # Panics
    /// The kind has no such section, or a later one stands already.
    #[must_use]
    pub fn options(mut self, options: &SubmitOptions) -> Self {
        let kind = Kind::from_byte(self.0[1]);
        assert!(
            kind.is_some_and(Kind::may_have_options),
            "only submits have options"
        );
        self.open_section(Flags::OPTIONS, Flags::NAMED.with(Flags::DEADLINES));
        extend(
            &mut self.0,
            &[options.priority.level(), options.retries, 0, 0],
        );
        extend(&mut self.0, &options.hold_ms.to_le_bytes());
        self
    }

    /// Adds the section of the boot id.
    ///
    /// # Panics
    /// It stands already.
    #[must_use]
    pub fn boot(mut self, boot: u64) -> Self {
        self.open_section(Flags::BOOT, Flags::NAMED.with(Flags::DEADLINES));
        extend(&mut self.0, &boot.to_le_bytes());
        self
    }

    /// Adds the section of the origin, which is the last.
    ///
    /// # Panics
    /// The kind has no such section.
    #[must_use]
    pub fn origin(mut self, origin: &OriginTicket) -> Self {
        let kind = Kind::from_byte(self.0[1]);
        assert!(
            kind.is_some_and(Kind::may_have_origin),
            "only messages about an attempt have an origin"
        );
        self.0[2] |= Flags::ORIGIN.to_byte();
        extend(&mut self.0, &origin.client.to_le_bytes());
        extend(&mut self.0, &origin.task.to_le_bytes());
        extend(&mut self.0, &origin.ticket.to_le_bytes());
        self
    }

    /// Adds a body that belongs to the message itself, not to a task.
    ///
    /// # Panics
    /// It is longer than [`BODY_MAX`], or does not fit behind the sections.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        assert!(
            body.len() <= BODY_MAX,
            "a body has at most {BODY_MAX} bytes"
        );
        extend(&mut self.0, body);
        self
    }

    /// Says that the payload is the next `count` frames: for whoever sends it that way.
    ///
    /// # Panics
    /// More than [`FRAMES_MAX`].
    pub fn set_frames(&mut self, count: usize) {
        assert!(
            count <= FRAMES_MAX,
            "a payload has at most {FRAMES_MAX} frames"
        );
        // The assertion above makes the conversion exact.
        self.0[3] = count as u8;
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Sets the flag of a section; only those of earlier ones may stand.
    fn open_section(&mut self, flag: Flags, earlier: Flags) {
        let present = self.0[2] & SECTIONS;
        assert!(
            present & !earlier.to_byte() == 0,
            "sections are added once, in wire order"
        );
        self.0[2] |= flag.to_byte();
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Head")
            .field(&Message::decode(self.as_slice()))
            .finish()
    }
}

/// The flags that stand for sections.
const SECTIONS: u8 = Flags::NAMED.to_byte() | Flags::DEADLINES.to_byte() | Flags::BOOT.to_byte();

/// Appends to an array that was sized for the largest head; a body that does not fit is a mistake
/// of the program.
fn extend(bytes: &mut ArrayVec<u8, HEAD_MAX>, more: &[u8]) {
    bytes
        .try_extend_from_slice(more)
        .expect("a head has room for each section at its largest");
}
