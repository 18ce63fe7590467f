// Package dashboard serves the operators' web pages about the pool and its batches,
// rendered on the server, and the few actions that they need.
//
// It reads and acts only through the interfaces of [Source]. Pages are complete
// without JavaScript; with it, changes are sent by one stream of server-sent events
// per page, from one reading per second that all viewers share. The views are in
// package templates.
package dashboard
