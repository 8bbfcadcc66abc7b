#pragma once

#include "src/net/loop_client.h"
#include "src/net/loop_runtime.h"
