# An API connector, and the step of a user flow that calls it, with Microsoft's provider msgraph.
# README.md in the folder above says why it is this provider, what it cannot do, and in which order
# to go. Nothing in here is secret, so nothing in the state is: the credential is set by
# `api-connector set-credential`.

terraform {
  required_version = ">= 1.5"
  required_providers {
    msgraph = {
      source  = "microsoft/msgraph"
      version = "~> 0.3.0"
    }
  }
}

locals {
  # User flows of Azure AD B2C are in Graph's beta only.
  is_b2c = startswith(var.flow, "B2C_1_")
  graph  = local.is_b2c ? "beta" : "v1.0"
  flows  = local.is_b2c ? "identity/b2cUserFlows" : "identity/b2xUserFlows"
  steps = {
    after-federation = "postFederationSignup"
    before-create    = "postAttributeCollection"
    before-token     = "preTokenIssuance"
  }
}

resource "msgraph_resource" "connector" {
  url         = "identity/apiConnectors"
  api_version = "v1.0"

  body = {
    displayName = var.name
    targetUrl   = var.url
    authenticationConfiguration = {
      "@odata.type" = "#microsoft.graph.basicAuthentication"
      username      = "nobody"
      # Graph makes no connector without a credential. The bridge refuses this one.
      password = "not a password: set one with api-connector set-credential"
    }
  }

  lifecycle {
    # Graph shows a password as ******, and a certificate as another type. Without this, every plan
    # would put the credential above back.
    ignore_changes = [body.authenticationConfiguration]
  }
}

# Not before the credential is set: the flow would show an error page. The provider neither reads
# this back nor undoes it: detach with `api-connector detach` before you take it out or destroy it.
resource "msgraph_resource_action" "attach" {
  count = var.attach ? 1 : 0

  resource_url = "${local.flows}/${var.flow}/apiConnectorConfiguration/${local.steps[var.step]}/$ref"
  api_version  = local.graph
  method       = "PUT"

  lifecycle {
    precondition {
      condition     = local.is_b2c || var.step != "before-token"
      error_message = "The step before-token exists in Azure AD B2C only."
    }
  }

  body = {
    "@odata.id" = "https://graph.microsoft.com/${local.graph}/identity/apiConnectors/${msgraph_resource.connector.id}"
  }
}

output "id" {
  description = "What api-connector calls ID."
  value       = msgraph_resource.connector.id
}
