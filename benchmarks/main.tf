# The same three snapshots, as a Terraform user takes them: one resource per volume.

variable "endpoint" { type = string }
variable "volume_ids" { type = set(string) }

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    ec2 = var.endpoint
    sts = var.endpoint
  }
}

resource "aws_ebs_snapshot" "backup" {
  for_each  = var.volume_ids
  volume_id = each.value
}
