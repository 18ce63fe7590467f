package batch

// Role is the part of the work that a gateway does. Gateways that share a store
// may have different roles.
type Role string

// The roles.
const (
	// RoleAll answers live requests and the API, and works on batches. It is the
	// default.
	RoleAll Role = "all"
	// RoleServe answers live requests and the API. It accepts files and batches,
	// and leaves validating, running and finalizing them to others.
	RoleServe Role = "serve"
	// RoleWork works on batches and answers no client.
	RoleWork Role = "work"
)

// Serves reports whether a gateway of this role answers clients.
func (r Role) Serves() bool { return r != RoleWork }

// Works reports whether a gateway of this role works on batches.
func (r Role) Works() bool { return r != RoleServe }

// Peers counts the other gateways that share the store.
type Peers struct {
	All     int
	Serving int // those that answer clients
	Working int // those that work on batches
}
