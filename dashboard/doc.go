// Package dashboard is what operators look at: pages about the pool and its
// batches, rendered on the server, and the few actions that they need.
//
// It reads and acts through the interfaces of [Source] alone and shows nothing
// that does not come from them. Pages are complete without JavaScript; with it,
// what changes is sent by one stream of server-sent events per page, from one
// reading per second that all viewers share. The views are in package
// templates.
package dashboard
