package local_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// launcherVariable makes this test program play a launcher: it starts a child,
// prints the child's pid and waits to be killed.
const launcherVariable = "QUIPU_TEST_LAUNCHER"

func TestMain(m *testing.M) {
	if args := os.Args[1:]; playsProgram(args) {
		os.Exit(play(args))
	}
	if spec := os.Getenv(launcherVariable); spec != "" {
		launch(spec)
		return
	}
	os.Exit(m.Run())
}

func launch(spec string) {
	dir, mode, _ := strings.Cut(spec, "|")
	if mode == "cluster" {
		launchCluster(dir)
		return
	}
	p, err := local.StartProcess(local.Command{
		Name: "child", Path: "/bin/sh", Args: []string{"-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"},
		LogFile: filepath.Join(dir, "log"), PIDFile: filepath.Join(dir, "process"), DieWithParent: mode == "dies",
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	<-p.Done()
}

// killedLauncher runs a launcher and kills it with -9; the pid is its child's.
func killedLauncher(t *testing.T, dir, mode string) int {
	t.Helper()
	launcher := exec.Command(os.Args[0])
	launcher.Env = append(os.Environ(), launcherVariable+"="+dir+"|"+mode)
	out, err := launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := launcher.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = launcher.Wait()
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the launcher printed %q (%v): %v", line, readErr, err)
	}
	return pid
}

func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pid := killedLauncher(t, dir, "dies")
	testkit.Eventually(t, patience, func() error {
		if left, err := local.LeftoverPID(filepath.Join(dir, "process")); err != nil || left != 0 {
			return fmt.Errorf("process %d still runs: %d, %v", pid, left, err)
		}
		return nil
	})
}

func TestLeftoverIsRecognisedAndStopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pid := killedLauncher(t, dir, "stays")
	pidFile := filepath.Join(dir, "process")
	t.Cleanup(func() { _, _ = local.StopLeftover(context.Background(), pidFile) })

	if got, err := local.LeftoverPID(pidFile); err != nil || got != pid {
		t.Fatalf("LeftoverPID = %d, %v; want %d", got, err, pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if found, err := local.StopLeftover(ctx, pidFile); err != nil || !found {
		t.Fatalf("StopLeftover = %v, %v; want true, nil", found, err)
	}
	if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
	if found, err := local.StopLeftover(ctx, pidFile); err != nil || found {
		t.Errorf("the second StopLeftover = %v, %v; want false, nil", found, err)
	}
}

func TestLeftoverWithoutItsFileIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pid := killedLauncher(t, dir, "stays")
	pidFile := filepath.Join(dir, "process")
	t.Cleanup(func() { _, _ = local.StopLeftover(context.Background(), pidFile) })
	// As if the launcher had been killed before it wrote the file.
	if err := os.Remove(pidFile); err != nil {
		t.Fatal(err)
	}
	if got, err := local.LeftoverPID(pidFile); err != nil || got != pid {
		t.Errorf("LeftoverPID = %d, %v; want %d", got, err, pid)
	}
	if got, err := local.LeftoverPID(pidFile + "-of-another"); err != nil || got != 0 {
		t.Errorf("LeftoverPID of another file = %d, %v; want 0", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if found, err := local.StopLeftover(ctx, pidFile); err != nil || !found {
		t.Errorf("StopLeftover = %v, %v; want true, nil", found, err)
	}
}

func TestLeftoverThatIgnoresTheRequestIsKilled(t *testing.T) {
	t.Parallel()
	p := shell(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	awaitLog(t, p, "up")
	pidFile := filepath.Join(filepath.Dir(p.LogFile()), "process")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if found, err := local.StopLeftover(ctx, pidFile); err != nil || !found {
		t.Fatalf("StopLeftover = %v, %v; want true, nil", found, err)
	}
	<-p.Done()
}

func TestAnotherProcessIsNeverMistakenForALeftover(t *testing.T) {
	t.Parallel()
	bystander := shell(t, "exec sleep 600")
	content, err := os.ReadFile(filepath.Join(filepath.Dir(bystander.LogFile()), "process"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(content))
	if len(fields) != 3 {
		t.Fatalf("the pid file is %q, want pid, start time and boot", content)
	}
	for _, test := range []struct{ name, content string }{
		{"same pid, other start time", fields[0] + " 1 " + fields[2]},
		{"same pid and start time, other boot", fields[0] + " " + fields[1] + " 00000000-0000-0000-0000-000000000000"},
		{"pid alone", fields[0]},
		{"empty", ""},
		{"nonsense", "you & me"},
		{"negative pid", "-" + fields[0] + " " + fields[1] + " " + fields[2]},
		{"every process", "-1 " + fields[1] + " " + fields[2]},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pidFile := filepath.Join(t.TempDir(), "process")
			if err := os.WriteFile(pidFile, []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if found, err := local.StopLeftover(t.Context(), pidFile); err != nil || found {
				t.Errorf("StopLeftover = %v, %v; want false, nil", found, err)
			}
			if state := processState(t, bystander.PID()); state == "Z" {
				t.Error("the bystander was ended")
			}
		})
	}
}

func TestLockDirKeepsASecondLauncherOut(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, err := local.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local.LockDir(dir); err == nil {
		t.Fatal("a second lock was given")
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	second, err := local.LockDir(dir)
	if err != nil {
		t.Fatalf("after Unlock: %v", err)
	}
	_ = second.Unlock()
}
