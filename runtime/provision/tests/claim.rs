//! Provisioning by claim against a cloud that fails, refuses, and loses answers, with the power cut at every step.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use provision::{
    Identity, PortError, Ports, Provisioning, Reply, Settings,
    machine::State,
    wire::{self, Rejected},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use zeroize::Zeroizing;

/// The cloud and the device's disk: what outlives a power cut.
#[derive(Default)]
struct World {
    things: BTreeSet<String>,
    certificates: u32,
    tokens: BTreeSet<String>,
    keys: BTreeSet<String>,
    stored_certificate: Option<String>,
    identity: Option<Identity>,
    connected: bool,
    /// Answers to RegisterThing before it does its work.
    refusals: VecDeque<Rejected>,
    /// Calls until the power goes.
    cut: Option<usize>,
}

#[derive(Clone, Default)]
struct Device(Arc<Mutex<World>>);

impl Device {
    /// Before and after everything that has an effect: here the power may go, which shows as waiting for ever.
    async fn power(&self) {
        let gone = {
            let mut world = self.0.lock().unwrap();
            match &mut world.cut {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            }
        };
        if gone {
            std::future::pending::<()>().await;
        }
    }

    async fn effect<T>(&self, effect: impl FnOnce(&mut World) -> T) -> T {
        self.power().await;
        let result = effect(&mut self.0.lock().unwrap());
        self.power().await;
        result
    }
}

fn rejection(rejected: &Rejected) -> Reply {
    let payload = json!({"statusCode": rejected.status, "errorCode": rejected.code, "errorMessage": rejected.message});
    Reply::Rejected(payload.to_string().into_bytes())
}

impl World {
    fn answer(&mut self, topic: &str, payload: &[u8]) -> Reply {
        let request: Value = serde_json::from_slice(payload).unwrap();
        let accepted = if topic == wire::FROM_CSR || topic == wire::CREATE {
            self.certificates += 1;
            let token = format!("token {}", self.certificates);
            self.tokens.insert(token.clone());
            let csr = request["certificateSigningRequest"].as_str();
            json!({"certificateId": format!("id {}", self.certificates),
                "certificatePem": format!("for {}", csr.unwrap_or("cloud key")),
                "privateKey": csr.is_none().then_some("cloud key"), "certificateOwnershipToken": token})
        } else {
            assert_eq!(topic, "$aws/provisioning-templates/T/provision/json");
            if let Some(refusal) = self.refusals.pop_front() {
                return rejection(&refusal);
            }
            // A token that registered once is used up.
            if !self
                .tokens
                .remove(request["certificateOwnershipToken"].as_str().unwrap())
            {
                return rejection(&Rejected {
                    status: 400,
                    code: "InvalidCertificateOwnershipToken".into(),
                    message: String::new(),
                });
            }
            let thing = format!(
                "thing-{}",
                request["parameters"]["SerialNumber"].as_str().unwrap()
            );
            self.things.insert(thing.clone());
            json!({"thingName": thing, "deviceConfiguration": {"site": "north"}})
        };
        Reply::Accepted(accepted.to_string().into_bytes())
    }
}

impl Ports for Device {
    async fn request(&self, topic: &str, payload: Vec<u8>) -> Result<Reply, PortError> {
        let topic = topic.to_owned();
        Ok(self
            .effect(|world| {
                world.connected = true;
                world.answer(&topic, &payload)
            })
            .await)
    }

    async fn disconnect(&self) {
        self.0.lock().unwrap().connected = false;
    }

    async fn make_key(&self) -> Result<String, PortError> {
        self.effect(|world| world.keys.insert("own key".into()))
            .await;
        Ok("own key".into())
    }

    async fn certificate_request(&self, key: &str) -> Result<String, PortError> {
        assert!(self.0.lock().unwrap().keys.contains(key));
        Ok(key.into())
    }

    async fn store_certificate(&self, key: &str, certificate: &str) -> Result<(), PortError> {
        let (key, certificate) = (key.to_owned(), certificate.to_owned());
        assert_eq!(certificate, format!("for {key}"));
        self.effect(|world| world.stored_certificate = Some(certificate))
            .await;
        Ok(())
    }

    async fn store_key(&self, private_key: &Zeroizing<String>) -> Result<String, PortError> {
        let name = private_key.to_string();
        self.effect(|world| world.keys.insert(name.clone())).await;
        Ok(name)
    }

    async fn parameters(&self) -> Result<BTreeMap<String, String>, PortError> {
        Ok([("SerialNumber".to_owned(), "42".to_owned())].into())
    }

    async fn store_identity(&self, identity: &Identity) -> Result<(), PortError> {
        let identity = identity.clone();
        self.effect(|world| world.identity = Some(identity)).await;
        Ok(())
    }

    fn random(&self) -> f64 {
        1.0
    }
}

fn settings(own_key: bool) -> Settings {
    let mut configuration = json!({"provisioningTemplate": "T", "claimCertificatePath": "/c",
        "claimCertificatePrivateKeyPath": "/k", "rootCaPath": "/r", "iotDataEndpoint": "e"});
    if own_key {
        configuration["privateKeyPath"] = json!("pkcs11:token=t;object=device");
    }
    Settings::classic(&configuration).unwrap()
}

fn open(path: &Path, own_key: bool, device: &Device) -> Provisioning<Device> {
    Provisioning::open(path, &settings(own_key), device.clone()).unwrap()
}

fn assert_provisioned(device: &Device, own_key: bool) {
    let world = device.0.lock().unwrap();
    assert_eq!(world.things, BTreeSet::from(["thing-42".to_owned()]));
    assert_eq!(world.keys.len(), 1);
    let identity = world.identity.as_ref().unwrap();
    assert_eq!(identity.key, if own_key { "own key" } else { "cloud key" });
    assert_eq!(identity.registered.configuration["site"], "north");
    // The stored certificate is the registered one's: the last that was issued.
    assert_eq!(
        identity.certificate_id,
        format!("id {}", world.certificates)
    );
    assert!(!world.connected, "the claim's connection is dropped");
}

#[tokio::test(start_paused = true)]
async fn both_ways_give_the_device_its_identity_and_drop_the_claim() {
    for own_key in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provisioning.json");
        let device = Device::default();
        let mut provisioning = open(&path, own_key, &device);
        provisioning.run().await.unwrap();
        assert_provisioned(&device, own_key);
        assert_eq!(device.0.lock().unwrap().certificates, 1);
        // Once is enough.
        open(&path, own_key, &device).run().await.unwrap();
        assert_eq!(device.0.lock().unwrap().certificates, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_step_makes_no_second_thing_and_no_second_key() {
    for own_key in [true, false] {
        for cut in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("provisioning.json");
            let device = Device::default();
            device.0.lock().unwrap().cut = Some(cut);
            let mut provisioning = open(&path, own_key, &device);
            let first = tokio::time::timeout(Duration::from_secs(1), provisioning.run()).await;
            device.0.lock().unwrap().cut = None;
            open(&path, own_key, &device).run().await.unwrap();
            assert_provisioned(&device, own_key);
            assert!(device.0.lock().unwrap().certificates <= 2);
            if first.is_ok() {
                assert!(cut >= 8, "the power was never cut");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_asked_again_for_days_and_its_reason_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provisioning.json");
    let device = Device::default();
    let denied = Rejected {
        status: 403,
        code: "AccessDenied".into(),
        message: "the hook does not know this serial number".into(),
    };
    device.0.lock().unwrap().refusals = vec![denied; 100].into();
    let began = tokio::time::Instant::now();
    let mut provisioning = open(&path, true, &device);
    // After a day the file still says why, and when it is tried again.
    let day = Duration::from_secs(24 * 3600);
    let stopped = tokio::time::timeout(day, provisioning.run()).await;
    assert!(stopped.is_err());
    let record = provision::read(&path).unwrap();
    assert!(matches!(record.state, State::Registering { .. }));
    let failed = record.failed.unwrap();
    assert!(failed.why.contains("does not know this serial"));
    assert!((failed.at + 1800..=failed.at + 3600).contains(&failed.again));
    provisioning.run().await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(2 * 24 * 3600));
    let record = provision::read(&path).unwrap();
    assert!(matches!(record.state, State::Done { thing, .. } if thing == "thing-42"));
    assert_eq!(record.failed, None);
    assert_provisioned(&device, true);
    assert_eq!(device.0.lock().unwrap().certificates, 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_gets_another_certificate_for_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provisioning.json");
    let device = Device::default();
    let expired = Rejected {
        status: 400,
        code: "InvalidCertificateOwnershipToken".into(),
        message: "expired".into(),
    };
    device.0.lock().unwrap().refusals = [expired].into();
    open(&path, true, &device).run().await.unwrap();
    assert_provisioned(&device, true);
    assert_eq!(device.0.lock().unwrap().certificates, 2);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_is_no_matter_of_patience() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no such folder/provisioning.json");
    let device = Device::default();
    let fault = open(&path, true, &device).run().await.unwrap_err();
    assert!(fault.to_string().contains("no such folder"), "{fault}");
    assert!(device.0.lock().unwrap().things.is_empty());
}
