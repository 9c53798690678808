//! Pure types and rules of Greengrass, without I/O: what a recipe says, which manifest a platform takes,
//! which versions satisfy a range, what a component may do. Every other crate stands on this one.
//!
//! ```
//! use model::{Platform, Recipe, interpolate::{Resident, Scope, World}};
//!
//! let text = "
//! RecipeFormatVersion: '2020-01-25'
//! ComponentName: com.example.Hello
//! ComponentVersion: 1.0.0
//! ComponentConfiguration: { DefaultConfiguration: { who: world } }
//! Manifests:
//!   - Platform: { os: linux }
//!     Lifecycle: { Run: 'echo hello {configuration:/who}' }
//! ";
//! let recipe = Recipe::parse(text, "hello.yaml")?.recipe;
//! let selected = recipe.select(&Platform::from_uname("Linux", "x86_64"))?;
//! let mut world = World { root: "/var/lib/greengrass".into(), ..World::default() };
//! let configuration = recipe.default_configuration.clone();
//! world.components.insert(recipe.name.clone(), Resident { version: recipe.version.clone(), configuration });
//! let lifecycle = selected.resolve(&Scope::new(&world, &recipe.name, recipe.dependencies.keys()))?;
//! assert_eq!(lifecycle.run.unwrap().script, "echo hello world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod access;
pub mod check;
pub mod component;
pub mod deployment;
pub mod error_code;
pub mod interpolate;
pub mod lifecycle;
pub mod name;
pub mod platform;
pub mod recipe;
pub mod shadow;
pub mod topic;
pub mod version;

pub use component::{ComponentSpec, RunWith, Step, SystemLimits};
pub use error_code::{ErrorCode, ErrorType};
pub use lifecycle::{ComponentStatus, State, StatusCode};
pub use name::ComponentName;
pub use platform::Platform;
pub use recipe::Recipe;
pub use topic::{TopicFilter, TopicName};
pub use version::{Version, VersionRequirement};
