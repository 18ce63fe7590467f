package vllmsim

import (
	"net/http"
	"strconv"
)

const (
	missingBytes  = 64           // how much longer Content-Length is for kindShort
	endlessLength = "1073741824" // the same for a stream, whose length is not known
)

// failAtOnce answers with a fault that needs no run, if the plan has one.
func (g *run) failAtOnce() bool {
	f := &g.plan.fault
	h := g.w.Header()
	switch f.kind {
	case kindStatus:
		g.fault()
		if f.retryAfter >= 0 {
			h.Set("Retry-After", strconv.Itoa(f.retryAfter))
		}
		refusal := Refusal{Status: f.n, Type: faultType(f.n), Message: "Simulated fault: " + http.StatusText(f.n)}
		writeBody(g.w, f.n, headerJSON, g.ep.appendRefusal(nil, &refusal))
	case kindHTML:
		g.fault()
		title := strconv.Itoa(f.n) + " " + http.StatusText(f.n)
		writeBody(g.w, f.n, headerHTML, []byte("<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+title+
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"))
	case kindRedirect:
		g.fault()
		h.Set("Location", f.target)
		writeBody(g.w, http.StatusFound, headerHTML, []byte("<a href=\"#\">Found</a>.\n"))
	case kindCut:
		g.fault()
		panic(http.ErrAbortHandler)
	case kindDie:
		g.fault()
		g.s.die(f.pause)
		g.answerDeath()
	case kindFreeze:
		g.s.freeze(f.pause)
		*f = directive{} // the request continues when the engine does
		return false
	case kindExit:
		g.fault()
		g.s.cfg.Exit(1)
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

// faultType is the type that vLLM gives an error of this status.
func faultType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "BadRequestError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusInternalServerError:
		return "InternalServerError"
	}
	return http.StatusText(status)
}

// failWhole sends a whole body with a fault.
func (g *run) failWhole(body []byte) {
	half := body[:len(body)/2]
	switch g.plan.fault.kind {
	case kindTruncated:
		g.fault()
		writeBody(g.w, http.StatusOK, headerJSON, half)
	case kindShort:
		g.fault()
		g.writePart(len(body)+missingBytes, body) // net/http closes the connection
	case kindCutMid:
		g.fault()
		g.writePart(len(body), half)
		panic(http.ErrAbortHandler)
	case kindHangMid:
		g.writePart(len(body), half)
		g.hang()
	}
}

// writePart sends a part of a body under a Content-Length of another size.
func (g *run) writePart(length int, part []byte) {
	h := g.w.Header()
	h["Content-Type"] = headerJSON
	h["Content-Length"] = []string{strconv.Itoa(length)}
	g.w.WriteHeader(http.StatusOK)
	mustWrite(g.w, part)
	flush(g.w)
}

// failMid ends a stream in its middle, if the plan has such a fault.
func (g *run) failMid(out []byte) bool {
	a := &g.sc.answer
	switch g.plan.fault.kind {
	case kindCutMid:
		g.fault()
		g.sendPart(out)
		panic(http.ErrAbortHandler)
	case kindHangMid:
		g.sendPart(out)
		g.hang()
	case kindTruncated:
		whole := len(out)
		out = g.ep.events.token(out, a, a.tokens/2)
		g.fault()
		g.sendPart(out[:whole+(len(out)-whole)/2])
		return true
	}
	return false
}

// hang makes no progress until the client leaves or the server closes.
func (g *run) hang() {
	g.s.hung.Add(1)
	defer g.s.hung.Add(-1)
	g.pacer.forever()
	g.quit()
}
