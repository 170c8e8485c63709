package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quipudb/quipu/config"
)

// settings finds the configuration of a command from the flags that every command has.
type settings struct {
	process *process
	file    string
	set     []string
	bound   []boundFlag
}

// boundFlag is a flag of its own for a setting that is often given.
type boundFlag struct {
	flag *pflag.Flag
	path string
}

// bindTo adds a flag of one command that sets a setting.
func (s *settings) bindTo(c *cobra.Command, name, path, usage string) {
	s.bind(c.Flags(), name, path, usage)
}

func newSettings(p *process, flags *pflag.FlagSet) *settings {
	s := &settings{process: p}
	flags.StringVar(&s.file, "config", "", "configuration `file` (YAML); default: QUIPU_CONFIG, else none")
	flags.StringArrayVar(&s.set, "set", nil, "set one setting, `section.key=value`; may be repeated")
	s.bind(flags, "zookeeper", "cluster.zookeeper", "ZooKeeper `servers`, host:port with commas between")
	s.bind(flags, "data-dir", "cluster.data_dir", "`folder` for the process's own data")
	s.bind(flags, "log-level", "log.level", "least severe `level` that is logged: debug, info, warn, error")
	s.bind(flags, "log-format", "log.format", "`format` of the log: text or json")
	return s
}

// bind adds a flag that sets a setting.
func (s *settings) bind(flags *pflag.FlagSet, name, path, usage string) {
	flags.String(name, "", fmt.Sprintf("%s (%s)", usage, path))
	s.bound = append(s.bound, boundFlag{flag: flags.Lookup(name), path: path})
}

// bindRole adds the flags of a role's command.
func (s *settings) bindRole(c *cobra.Command, section string) {
	s.bindTo(c, "listen", section+".listen", "`address` to serve on, host:port")
	s.bindTo(c, "advertise", section+".advertise", "base `address` at which others reach this process")
}

// load reads the configuration. Dedicated flags win over --set.
func (s *settings) load() (*config.Effective, error) {
	var overrides []config.Override
	for _, text := range s.set {
		path, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("flag --set must be section.key=value, is %q", text)
		}
		overrides = append(overrides, config.Override{Path: path, Value: value, Flag: "--set"})
	}
	for _, b := range s.bound {
		if b.flag.Changed {
			overrides = append(overrides, config.Override{Path: b.path, Value: b.flag.Value.String(), Flag: "--" + b.flag.Name})
		}
	}
	return config.Load(s.path(), s.process.environ, overrides)
}

// path returns the configuration file in use, or "".
func (s *settings) path() string {
	if s.file != "" {
		return s.file
	}
	return s.environment("QUIPU_CONFIG")
}

// environment returns a variable of the environment, or "".
func (s *settings) environment(name string) string {
	for _, variable := range s.process.environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// logger writes to w as configured, and what was ignored in the configuration first.
func logger(w io.Writer, cfg *config.Effective) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo // the configuration allows no other words
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if cfg.Log.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	log := slog.New(handler)
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	return log
}

// runWith is a command's RunE that has its configuration read.
func (s *settings) runWith(run func(c *cobra.Command, cfg *config.Effective, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cfg, err := s.load()
		if err != nil {
			return err
		}
		return run(c, cfg, args)
	}
}
