package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is a server with configured responses, for responses that no installed server
// sends.
type fake struct {
	addr    string
	answers map[string]string // by command in upper case, as on the wire

	mu   sync.Mutex
	open []net.Conn // guarded by mu
}

// notKnown is the response of servers before 6 to an unknown command; it repeats the
// arguments.
func notKnown(args []string) string {
	return fmt.Sprintf("-ERR unknown command `%s`, with args beginning with: `%s`, \r\n", args[0], strings.Join(args[1:], "`, `"))
}

func startFake(t *testing.T, answers map[string]string) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &fake{addr: listener.Addr().String(), answers: answers}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.open = append(f.open, conn)
			f.mu.Unlock()
			serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.mu.Lock()
		for _, conn := range f.open {
			conn.Close()
		}
		f.mu.Unlock()
		serving.Wait()
	})
	return f
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		answer, known := f.answers[strings.ToUpper(args[0])]
		switch {
		case !known:
			answer = notKnown(args)
		case answer == "": // as a black hole
			continue
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	count, err := readCount(r)
	if err != nil {
		return nil, err
	}
	args := make([]string, count)
	for i := range args {
		length, err := readCount(r)
		if err != nil {
			return nil, err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, err
		}
		args[i] = string(text[:length])
	}
	return args, nil
}

func readCount(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func (f *fake) server() Server { return Server{Addresses: []string{f.addr}} }
