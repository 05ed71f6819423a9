//! Strikes processes by chance, each while it lives.

use bowline_runtime::rand;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, Running, eventually};

/// Kills an instance of a service, as soon as there is one.
pub(crate) async fn kill(running: &Running, service: &str) {
    let victim = signal(running, service, Signal::KILL).await;
    // Until it is reaped a signal would reach what is dead already, and strike nobody.
    let is_gone = async || !running.processes(service).await.contains(&victim);
    assert!(eventually(PATIENCE, is_gone).await, "{service} does not die\n{}", running.output());
}

/// Sends a signal to an instance of a service, as soon as there is one; its process.
pub(crate) async fn signal(running: &Running, service: &str, signal: Signal) -> Pid {
    let mut struck = None;
    let is_struck = async || {
        let processes = running.processes(service).await;
        let Some(&pid) = processes.get(rand::below(processes.len().max(1))) else { return false };
        // It may have ended by itself meanwhile.
        struck = kill_process(pid, signal).is_ok().then_some(pid);
        struck.is_some()
    };
    assert!(eventually(PATIENCE, is_struck).await, "no {service} to strike\n{}", running.output());
    struck.unwrap()
}
