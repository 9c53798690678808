//! Component metrics: one JSON line a measurement in `telemetry/<component>.log`, where the classic nucleus has them too.
//! A file that has grown to 1 MiB becomes `<component>.log.1`, and the one before it goes.

use ipc::ports::{Metric, Metrics, Unit};
use model::ComponentName;
use serde_json::json;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::SystemTime,
};

const WAITING: usize = 256;
const MAX_BYTES: u64 = 1 << 20;

/// The port's side: never blocks.
pub struct Sender(SyncSender<(ComponentName, Metric, SystemTime)>);

/// The thread's side.
pub struct Writer(JoinHandle<()>);

/// Starts the thread that writes. It ends when the sender is dropped.
pub fn open(folder: PathBuf) -> (Sender, Writer) {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = std::thread::spawn(move || write_all(&folder, &receiver));
    (Sender(sender), Writer(thread))
}

impl Metrics for Sender {
    fn record(&self, component: &ComponentName, metric: Metric) {
        if self
            .0
            .try_send((component.clone(), metric, SystemTime::now()))
            .is_err()
        {
            log::warn!(component = component.as_str(); "a metric was dropped: they come faster than they can be written");
        }
    }
}

impl Writer {
    /// Waits until all is written.
    pub fn close(self) {
        let _ = self.0.join();
    }
}

fn write_all(folder: &Path, metrics: &Receiver<(ComponentName, Metric, SystemTime)>) {
    for (component, metric, at) in metrics {
        if let Err(error) = write(folder, &component, &metric, at) {
            log::warn!(component = component.as_str(); "a metric was not written: {error}");
        }
    }
}

fn write(
    folder: &Path,
    component: &ComponentName,
    metric: &Metric,
    at: SystemTime,
) -> std::io::Result<()> {
    let path = folder.join(format!("{component}.log"));
    if fs::metadata(&path).is_ok_and(|m| m.len() >= MAX_BYTES) {
        fs::rename(&path, folder.join(format!("{component}.log.1")))?;
    }
    let milliseconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let line = json!({
        "NS": component, "N": metric.name, "U": unit(metric.unit), "V": metric.value, "TS": u64::try_from(milliseconds).unwrap_or(0),
    });
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    writeln!(file, "{line}")
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "Bytes",
        Unit::BytesPerSecond => "BytesPerSecond",
        Unit::Count => "Count",
        Unit::CountPerSecond => "CountPerSecond",
        Unit::Megabytes => "Megabytes",
        Unit::Seconds => "Seconds",
    }
}
