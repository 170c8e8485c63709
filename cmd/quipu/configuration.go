package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
)

func newConfigCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Long: `Checks and shows the configuration that the other commands would run with: the defaults,
then the file (--config or QUIPU_CONFIG), then the environment (QUIPU_<SECTION>_<KEY>), then
flags.`,
		Example: `  quipu config check --config /etc/quipu/quipu.yaml
  quipu config print --set reader.max_wait=10s`,
	}
	parent.AddCommand(newConfigCheckCommand(s), newConfigPrintCommand(s))
	return parent
}

func newConfigCheckCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration",
		Long: `Reads the configuration as a role would, without starting anything, and lists everything
that can't be used: the file, its line and the setting. FILE stands for --config FILE.
Passwords and tokens in files of their own are not read. The exit code is 2 if anything is
wrong.`,
		Example: `  quipu config check /etc/quipu/quipu.yaml
  quipu config check --set reader.max_wait=10s`,
		Args: upToOneArgument("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && s.file != "" {
				return usagef("both FILE and --config are given")
			}
			if len(args) > 0 {
				s.file = args[0]
			}
			cfg, err := s.load()
			if err == nil {
				for _, warning := range cfg.Warnings {
					fmt.Fprintln(c.ErrOrStderr(), "warning:", warning)
				}
				read := "the configuration is fine"
				if s.path() == "" {
					read += "; no file was given, so these are defaults, environment and flags"
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), read)
				return err
			}
			problems := config.List(err)
			if _, ok := errors.AsType[config.Errors](err); !ok || len(problems) == 1 {
				return err
			}
			for _, p := range problems {
				fmt.Fprintln(c.ErrOrStderr(), p)
			}
			return config.Errors{{Origin: "configuration", Reason: fmt.Sprintf("%d settings can't be used", len(problems))}}
		},
	}
}

func newConfigPrintCommand(s *settings) *cobra.Command {
	var defaults bool
	c := &cobra.Command{
		Use:   "print",
		Short: "Print every setting in effect and where it came from",
		Long: `Prints every setting in effect as YAML that can be read again, and behind each where it came
from: default, a line of the file, a variable of the environment, or a flag. Secrets are not
shown.

--defaults prints the documented file of all settings with their defaults instead.`,
		Example: `  quipu config print --config quipu.yaml
  quipu config print --defaults > quipu.yaml`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if defaults {
				_, err := c.OutOrStdout().Write(config.Reference())
				return err
			}
			cfg, err := s.load()
			if err != nil {
				return err
			}
			return cfg.Print(c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&defaults, "defaults", false, "print the documented defaults")
	return c
}
