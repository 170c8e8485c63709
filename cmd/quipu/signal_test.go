package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/testkit"
)

// program is the real program, in a process of its own.
type program struct {
	command *exec.Cmd
	listen  string
	log     bytes.Buffer
	ended   chan error
}

// startProgram runs a cluster proxy and waits until it is ready.
func startProgram(t *testing.T, environ []string) *program {
	t.Helper()
	p := &program{listen: freeAddress(t), ended: make(chan error, 1)}
	p.command = exec.Command(testkit.Binary(t), "cluster-proxy", "--listen", p.listen, "--set", "http.profiles=true", "--set", "http.drain=1m")
	p.command.Env = append(os.Environ(), environ...)
	p.command.Stderr = &p.log
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.command.Wait() }()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // it has ended, unless the test failed
		p.ended <- <-p.ended
		if t.Failed() {
			t.Logf("the program said:\n%s", p.log.String())
		}
	})
	testkit.Eventually(t, startTimeout, func() error {
		resp, err := http.Get("http://" + p.listen + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("got status %d from /readyz", resp.StatusCode)
		}
		return nil
	})
	return p
}

func (p *program) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns how the program ended.
func (p *program) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the program did not end")
		return nil
	}
}

func TestSignals(t *testing.T) {
	server := testkit.ZooKeeper(t)
	environ := []string{"QUIPU_CLUSTER_ZOOKEEPER=" + server.Address(), "QUIPU_CLUSTER_DATA_DIR=" + t.TempDir()}
	if got := quipu(t, environ, "cluster", "init", "--topology", writeFile(t, "topology.yaml", topologyText)); got.code != exitDone {
		t.Fatal(got)
	}
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run("graceful by "+s.String(), func(t *testing.T) {
			p := startProgram(t, environ)
			p.signal(t, s)
			if err := p.wait(t); err != nil {
				t.Errorf("got %v, want exit code 0", err)
			}
			if !strings.Contains(p.log.String(), "msg=stopped") {
				t.Error("it did not say that it stopped")
			}
		})
	}
	t.Run("at once by a second one", func(t *testing.T) {
		p := startProgram(t, environ)
		hang := make(chan error, 1)
		go func() { // a request that outlasts the test holds up the drain
			resp, err := http.Get("http://" + p.listen + "/debug/pprof/trace?seconds=60")
			if err == nil {
				resp.Body.Close()
			}
			hang <- err
		}()
		awaitInFlight(t, p.listen)
		p.signal(t, syscall.SIGTERM)
		testkit.Eventually(t, startTimeout, func() error {
			conn, err := net.Dial("tcp", p.listen)
			if err != nil {
				return nil
			}
			conn.Close()
			return fmt.Errorf("it still listens")
		})
		p.signal(t, syscall.SIGTERM)
		err := p.wait(t)
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("got %v, want an end by the signal itself", err)
		}
		<-hang
	})
}

// awaitInFlight waits until the hanging request is being served, beside the one that asks.
func awaitInFlight(t *testing.T, listen string) {
	t.Helper()
	testkit.Eventually(t, startTimeout, func() error {
		// A gauge of requests would count the one before this, too, if its handler is slow to return.
		_, body := fetch(t, "", http.MethodGet, "http://"+listen+"/debug/pprof/goroutine?debug=1", "")
		if !strings.Contains(body, "net/http/pprof.Trace") {
			return fmt.Errorf("the request is not served yet")
		}
		return nil
	})
}
