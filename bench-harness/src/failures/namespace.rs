//! A network of two: this machine, and a network namespace at the other end of a cable (veth).

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::error::Error;

/// The namespace and its cable; both are gone when it is dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    /// Our end of the cable.
    near: String,
    /// Theirs.
    far: String,
    net: [u8; 3],
}

impl Namespace {
    /// Makes it.
    ///
    /// # Errors
    /// What the `ip` program said: it takes root, and a kernel with veth.
    pub(super) fn new() -> Result<Self, Error> {
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        let namespace = Self {
            name: format!("taskyard-{pid}"),
            near: format!("tyn{pid}"),
            far: format!("tyf{pid}"),
            net: [10, 64 + high % 128, low],
        };
        let Self {
            name, near, far, ..
        } = &namespace;
        let addresses = [namespace.near_address(), namespace.far_address()];
        let [ours, theirs] = addresses.map(|address| format!("{address}/24"));
        ip(&["netns", "add", name])?;
        ip(&["link", "add", near, "type", "veth", "peer", "name", far])?;
        ip(&["link", "set", far, "netns", name])?;
        ip(&["addr", "add", &ours, "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", name, "addr", "add", &theirs, "dev", far])?;
        ip(&["-n", name, "link", "set", far, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, host)
    }

    /// Where we are for those inside.
    pub(super) fn near_address(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn far_address(&self) -> Ipv4Addr {
        self.address(2)
    }

    /// Pulls the cable at the far end, or plugs it in again.
    pub(super) fn set_link(&self, up: bool) -> Result<(), Error> {
        let state = if up { "up" } else { "down" };
        ip(&["-n", &self.name, "link", "set", &self.far, state])
    }

    /// Drops every packet both ways, or lets them pass again. The links stay up.
    pub(super) fn set_dropping(&self, dropping: bool) -> Result<(), Error> {
        let verb = if dropping { "add" } else { "del" };
        let [near, far] = [self.near_address(), self.far_address()].map(|it| format!("{it}/32"));
        ip(&["-n", &self.name, "route", verb, "blackhole", &near])?;
        ip(&["route", verb, "blackhole", &far])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is not there any more needs no removal. The cable goes with one of its ends.
        let _ = self.set_dropping(false);
        let _ = ip(&["link", "del", &self.near]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(Error::io("running `ip`"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let (what, said) = (arguments.join(" "), said.trim().to_owned());
    Err(Error::System(format!("`ip {what}`: {said}")))
}
