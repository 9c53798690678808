//! The bus through an engine: overlapping filters, budgets, and the death of the router.

use crate::{
    Message, QoS,
    engine::{Engine, Options, PublishError},
    policy::AllowAll,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

async fn engine(options: Options) -> Engine {
    Engine::start(options, Arc::new(AllowAll), None)
        .await
        .unwrap()
}

fn message(topic: &str, payload: impl Into<bytes::Bytes>, qos: QoS) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.into(),
        qos,
        retain: false,
        expires: None,
        properties: None,
    }
}

async fn recv(subscription: &mut super::Subscription) -> super::Delivery {
    timeout(LIMIT, subscription.recv())
        .await
        .expect("a delivery in time")
        .expect("the engine runs")
}

#[tokio::test]
async fn overlapping_filters_give_one_delivery_and_leave_nothing_behind() {
    let engine = engine(Options::default()).await;
    let mut one = engine
        .subscribe(&["a/#", "a/+", "a/b", "a/b"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let mut other = engine
        .subscribe(&["a/b"], QoS::AtMostOnce, 1 << 20)
        .await
        .unwrap();
    for number in 0..50 {
        let text = number.to_string();
        engine
            .publish(message("a/b", text.clone(), QoS::AtMostOnce))
            .await
            .unwrap();
        assert_eq!(recv(&mut one).await.message.payload, text);
        assert_eq!(recv(&mut other).await.message.payload, text);
    }
    let free = async {
        while engine.metrics().bus_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, free).await.expect("all copies are read");
}

#[tokio::test]
async fn topics_that_the_router_alone_cannot_take_go_through() {
    let engine = engine(Options::default()).await;
    let mut all = engine
        .subscribe(&["#"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let mut aws = engine
        .subscribe(&["$aws/things/+/shadow/#"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    for topic in [
        "é/temp",
        "/lead",
        "//",
        "$aws/things/t/shadow/update",
        "m/#".trim_end_matches("/#"),
    ] {
        engine
            .publish(message(topic, "x", QoS::AtMostOnce))
            .await
            .unwrap();
    }
    for topic in ["é/temp", "/lead", "//", "m"] {
        assert_eq!(&*recv(&mut all).await.message.topic, topic);
    }
    assert_eq!(
        &*recv(&mut aws).await.message.topic,
        "$aws/things/t/shadow/update"
    );
}

#[tokio::test]
async fn a_publisher_waits_for_the_acknowledgement_of_qos_1() {
    let engine = engine(Options::default()).await;
    let mut subscription = engine
        .subscribe(&["t"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let publishing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.publish(message("t", "x", QoS::AtLeastOnce)).await }
    });
    let delivery = recv(&mut subscription).await;
    assert!(!publishing.is_finished());
    delivery.ack();
    timeout(LIMIT, publishing).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn more_than_the_logs_hold_goes_through_without_a_gap() {
    let options = Options {
        bus_bytes: 8 << 10,
        ..Options::default()
    };
    let engine = engine(options).await;
    let mut subscription = engine
        .subscribe(&["t/#"], QoS::AtLeastOnce, 64 << 10)
        .await
        .unwrap();
    let publishing = tokio::spawn({
        let engine = engine.clone();
        async move {
            for number in 0..2000 {
                let text = format!("{number:0500}");
                engine
                    .publish(message("t/x", text, QoS::AtMostOnce))
                    .await
                    .unwrap();
            }
        }
    });
    // QoS 0 to a subscriber that keeps up: publishers are held back instead of dropping.
    for number in 0..2000 {
        let delivery = recv(&mut subscription).await;
        assert_eq!(delivery.message.payload, format!("{number:0500}"));
    }
    publishing.await.unwrap();
    assert_eq!(engine.metrics().dropped_bus, 0);
}

#[tokio::test]
async fn a_dead_router_is_replaced_and_nothing_unacknowledged_is_lost() {
    let engine = engine(Options::default()).await;
    let mut subscription = engine
        .subscribe(&["t"], QoS::AtLeastOnce, 16 << 20)
        .await
        .unwrap();
    let publishing = tokio::spawn({
        let engine = engine.clone();
        async move {
            let mut waits = Vec::new();
            for number in 0..3000_u32 {
                if number % 1000 == 500 {
                    engine.break_router();
                }
                let engine = engine.clone();
                let message = message("t", number.to_be_bytes().to_vec(), QoS::AtLeastOnce);
                // Each is noted in order when first polled; its end is awaited below.
                let mut publish = Box::pin(async move { engine.publish(message).await });
                let first =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(publish.as_mut().poll(cx)))
                        .await;
                if first.is_pending() {
                    waits.push(publish);
                }
                tokio::task::yield_now().await;
            }
            for wait in waits {
                wait.await.unwrap();
            }
        }
    });
    for number in 0..3000_u32 {
        let delivery = recv(&mut subscription).await;
        assert_eq!(delivery.message.payload, number.to_be_bytes().to_vec());
    }
    timeout(LIMIT, publishing).await.unwrap().unwrap();
    assert!(engine.metrics().bus_restarts >= 1);
}

#[tokio::test]
async fn a_subscription_that_is_dropped_holds_nobody() {
    let engine = engine(Options::default()).await;
    let subscription = engine
        .subscribe(&["t"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let publishing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.publish(message("t", "x", QoS::AtLeastOnce)).await }
    });
    tokio::task::yield_now().await;
    drop(subscription);
    timeout(LIMIT, publishing).await.unwrap().unwrap().unwrap();
    engine
        .publish(message("t", "x", QoS::AtLeastOnce))
        .await
        .unwrap();
    let mut again = engine
        .subscribe(&["t"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    engine
        .publish(message("t", "y", QoS::AtMostOnce))
        .await
        .unwrap();
    assert_eq!(recv(&mut again).await.message.payload, "y");
}

#[tokio::test]
async fn a_full_subscriber_drops_qos_0_and_refuses_qos_1_in_the_end() {
    let options = Options {
        hold_publishers: Duration::from_millis(1),
        ..Options::default()
    };
    let engine = engine(options).await;
    let mut subscription = engine
        .subscribe(&["t"], QoS::AtLeastOnce, 10_000)
        .await
        .unwrap();
    for _ in 0..20 {
        engine
            .publish(message("t", vec![0; 1000], QoS::AtMostOnce))
            .await
            .unwrap();
    }
    let dropped = engine.metrics().dropped_bus;
    assert!(dropped > 5, "{dropped}");
    let publish = |_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            engine
                .publish(message("t", vec![1; 1000], QoS::AtLeastOnce))
                .await
        })
    };
    let waits: Vec<_> = (0..20).map(publish).collect();
    // Those within twice the capacity wait for their acknowledgement, the others are told at once.
    let some_refused = async {
        while !waits.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, some_refused)
        .await
        .expect("a refusal in time");
    assert!(recv(&mut subscription).await.message.qos == QoS::AtMostOnce);
    drop(subscription);
    let (mut taken, mut refused) = (0, 0);
    for wait in waits {
        match timeout(LIMIT, wait).await.unwrap().unwrap() {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, PublishError::QuotaExceeded);
                refused += 1;
            }
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} {refused}");
}

#[tokio::test]
async fn one_subscription_too_many_is_refused_and_costs_nobody_anything() {
    let engine = engine(Options::default()).await;
    let mut all = Vec::new();
    for _ in 0..62 {
        all.push(
            engine
                .subscribe(&["t"], QoS::AtLeastOnce, 1 << 20)
                .await
                .unwrap(),
        );
    }
    assert!(
        engine
            .subscribe(&["t"], QoS::AtLeastOnce, 1 << 20)
            .await
            .is_err()
    );
    engine
        .publish(message("t", "x", QoS::AtMostOnce))
        .await
        .unwrap();
    for subscription in &mut all {
        assert_eq!(recv(subscription).await.message.payload, "x");
    }
    drop(all.pop());
    let mut last = engine
        .subscribe(&["u"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    engine
        .publish(message("u", "y", QoS::AtMostOnce))
        .await
        .unwrap();
    assert_eq!(recv(&mut last).await.message.payload, "y");
    assert_eq!(engine.metrics().bus_restarts, 0);
}
