/* Which layers of the sandbox this kernel has. */
#include "base/str.h"
#include "prog/stigmer-server/doctor-impl.h"

static void say_layer(struct doctor *d, const char *id, enum sandbox_layer layer, const char *hint,
                      const char *good)
{
    const char *why = d->sandbox.missing[layer];

    doctor_say(d, id, *why ? DOCTOR_WARN : DOCTOR_OK, hint, "%s", *why ? why : good);
}

void doctor_landlock(struct doctor *d)
{
    char good[48];

    sandbox_probe(config_egress(&d->config), &d->sandbox);
    (void)str_format(good, sizeof good, "ABI %d", d->sandbox.landlock_abi);
    say_layer(d, "sandbox.landlock", SANDBOX_LANDLOCK,
              "a kernel of 5.13 or later with landlock in its lsm= list", good);
}

void doctor_landlock_net(struct doctor *d)
{
    say_layer(d, "sandbox.landlock-net", SANDBOX_LANDLOCK_NET,
              "a kernel of 6.7 or later; until then tools have no network at all",
              "tools are kept to one port");
    say_layer(d, "sandbox.landlock-scope", SANDBOX_LANDLOCK_SCOPE, "a kernel of 6.12 or later",
              "signals and abstract sockets stay inside");
}

void doctor_seccomp(struct doctor *d)
{
    say_layer(d, "sandbox.seccomp", SANDBOX_SECCOMP, "a kernel with CONFIG_SECCOMP_FILTER",
              "system calls are filtered");
}

void doctor_namespaces(struct doctor *d)
{
    say_layer(d, "sandbox.namespaces", SANDBOX_NAMESPACES,
              "sysctl kernel.unprivileged_userns_clone=1, or "
              "kernel.apparmor_restrict_unprivileged_userns=0; a container does without",
              "the process runner's tools get a root folder of their own");
}

void doctor_sandbox(struct doctor *d)
{
    const char *required = config_get_str(&d->config, CONFIG_SANDBOX_REQUIRE);
    struct err err;

    if (sandbox_require(&d->sandbox, required, &err))
        doctor_say(d, "sandbox", DOCTOR_FAIL, err.hint, "%s", err.msg);
    else if (str_eq(required, "none"))
        doctor_say(d, "sandbox", DOCTOR_WARN, "stigmer config unset sandbox.require",
                   "sandbox.require is none: nothing is checked before a tool runs");
    else
        doctor_say(d, "sandbox", DOCTOR_OK, "", "what is required is there: %s", required);
}
